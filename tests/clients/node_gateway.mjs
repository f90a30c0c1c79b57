// A gateway in another language, after docs/PROTOCOL.md: it joins one router as "node-1", logs its users in,
// sends one message from the first to the second, and prints all that it hears as JSON lines.
//
//   node node_gateway.mjs <router address> <cluster id, hex> <first uid> <second uid>

import { Dealer, Publisher } from "zeromq"
import { decode, encode } from "@msgpack/msgpack"
import { randomBytes } from "node:crypto"
import { crc32 } from "node:zlib"

const [router, clusterHex, ...uids] = process.argv.slice(2)
const MAGIC = Buffer.from("zmqi"), VERSION = 1, HEADER = 69, PREFIX = 5, NOBODY = Buffer.alloc(16)
const CODES = { Hello: 1, Welcome: 2, JoinRefused: 3, WhoAreYou: 4, Ping: 5, Goodbye: 6, Heartbeat: 8, Submit: 16,
  Answers: 17, Login: 32, LoginAck: 33, Kick: 36, PresenceDigest: 37, PresenceDiffers: 38, PresenceShard: 39,
  Deliver: 48, DeliverAck: 49 }
const NAMES = Object.fromEntries(Object.entries(CODES).map(([name, code]) => [code, name]))
const BIG = { useBigInt64: true }
const cluster = Buffer.from(clusterHex, "hex").subarray(0, 8)
const me = { name: "node-1", uuid: randomBytes(16), life: 1n }
const entries = uids.map((uid, index) => [index + 1, uid, 0, 1, "node", 0])  // session, uid, flag, level, device, login

let peer = null      // { uuid, life } of the router while the link is up
let link = 0n        // number of the link: one more for every Hello after a link
let pubAddress = "", counter = 0, ringHash = new Uint8Array(0)
const say = (event, fields) => console.log(JSON.stringify({ event, ...fields },
  (_, value) => typeof value === "bigint" ? value.toString() : value))

// One frame for all these messages ([name, body]) to one peer.
function frameOf(messages, to = peer, number = link) {
  const header = Buffer.alloc(HEADER)
  MAGIC.copy(header)
  header.writeUInt8(VERSION, 4)
  cluster.copy(header, 5)
  me.uuid.copy(header, 13)
  header.writeBigUInt64BE(me.life, 29)
  ;(to?.uuid ?? NOBODY).copy(header, 37)
  header.writeBigUInt64BE(to?.life ?? 0n, 53)
  header.writeBigUInt64BE(number, 61)
  const parts = messages.flatMap(([name, fields]) => {
    const body = encode(fields, BIG), prefix = Buffer.alloc(PREFIX)
    prefix.writeUInt8(CODES[name])
    prefix.writeUInt32BE(body.length, 1)
    return [prefix, body]
  })
  const sealed = Buffer.concat([header, ...parts])
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(sealed))
  return Buffer.concat([sealed, checksum])
}

// Who sent a frame, and its messages.
function opened(frame) {
  const end = frame.length - 4
  if (end < HEADER + PREFIX || !frame.subarray(0, 4).equals(MAGIC) || frame[4] !== VERSION) return null
  if (!frame.subarray(5, 13).equals(cluster) || frame.readUInt32BE(end) !== crc32(frame.subarray(0, end))) return null
  const from = { uuid: frame.subarray(13, 29), life: frame.readBigUInt64BE(29) }
  if (!frame.subarray(37, 53).equals(me.uuid) || frame.readBigUInt64BE(61) !== link) return null  // another life or link
  const messages = []
  for (let at = HEADER; at < end;) {
    const body = at + PREFIX, next = body + frame.readUInt32BE(at + 1)
    messages.push([NAMES[frame[at]], decode(frame.subarray(body, next), BIG)])
    at = next
  }
  return { from, messages }
}

const identity = `${me.name}:${me.uuid.toString("hex", 0, 4)}:${me.life}`
const dealer = new Dealer({ routingId: identity, linger: 0, immediate: true, maxMessageSize: 16 << 20 })
const publisher = new Publisher({ linger: 0 })
const send = (...messages) => { outbox = outbox.then(() => dealer.send(frameOf(messages))) }
let outbox = Promise.resolve()

function hello() {
  if (peer) return
  send(["Hello", [me.name, 1, "node-host", me.uuid, Number(me.life), pubAddress, new Uint8Array(0), {}]])
}

function heartbeat() {
  const body = [me.name, 1, "node-host", me.uuid, Number(me.life), 0, ++counter, 0, 0, 0, 1, ringHash, []]
  return frameOf([["Heartbeat", body]], null, 0n)
}

function personChannel(one, other) {
  const [a, b] = [crc32(one), crc32(other)]
  return a > b || (a === b && one > other) ? `${one}@${other}` : `${other}@${one}`
}

const originOf = (session) => (BigInt(me.uuid.readUInt32BE(0)) << 32n) | BigInt(session)

function sendMessage(from, to, text) {
  const channel = personChannel(from, to)
  const fields = [1, channel, from, `node-${Date.now()}`, Buffer.from(text), 0, 0, 0, "", originOf(1), false]
  const operation = encode([1, ...fields], BIG)
  const key = Buffer.concat([Buffer.from([1]), Buffer.from(channel)])
  send(["Submit", [[[100, key, 0, operation]]]])
}

const take = {
  Welcome([name, , uuid, life, hash], from) {
    if (peer) return
    ;[peer, ringHash] = [from, hash]
    say("welcome", { name })
    send(...entries.map((entry) => ["Login", [entry[0], entry]]))
  },
  JoinRefused([sentence]) { say("refused", { sentence }); process.exit(8) },
  WhoAreYou() { [peer, link] = [null, link + 1n]; hello() },
  Goodbye() { [peer, link] = [null, link + 1n]; hello() },
  Ping([answer]) { if (!answer) send(["Ping", [true]]) },
  LoginAck([session, loginNo]) {
    entries[session - 1][5] = loginNo
    say("login", { uid: uids[session - 1] })
    if (entries.every((entry) => entry[5])) sendMessage(uids[0], uids[1], "hello from Node")
  },
  Kick([sessions, reason]) { say("kick", { sessions, reason }) },
  Answers([items]) {
    for (const [request, code, result] of items) say("answer", { request, code, result: code === 0 ? decode(result, BIG) : null })
  },
  Deliver([frame, items]) {
    for (const [channelType, channelId, sequence, id, , operation, sessions] of items) {
      const [, , , from, , payload, , , , , origin] = decode(operation, BIG)
      say("deliver", { channelType, channelId, sequence, id, from, payload: Buffer.from(payload).toString(),
        to: sessions.filter((n) => BigInt(origin) !== originOf(n)).map((n) => uids[n - 1]) })
    }
    send(["DeliverAck", [frame]])
  },
}

await publisher.bind("tcp://127.0.0.1:*")
pubAddress = publisher.lastEndpoint
dealer.connect(router)
link = 1n
hello()
setInterval(hello, 500)
setInterval(() => peer && send(["PresenceDigest", [[]]]), 10_000)
setInterval(() => publisher.send(["hb.g", heartbeat()]), 250)
for await (const [frame] of dealer) {
  const { from, messages } = opened(frame) ?? { messages: [] }
  for (const [name, body] of messages) take[name]?.(body, from)
}
