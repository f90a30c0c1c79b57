// A gateway in another language, after docs/PROTOCOL.md: it joins one router as "node-1", logs two users in,
// sends a message from the first to the second, and prints what it hears as JSON lines.
//
//   node node_gateway.mjs <router address> <cluster id, hex> <first uid> <second uid>
import { Dealer, Publisher } from "zeromq"
import { decode, encode } from "@msgpack/msgpack"
import { randomBytes } from "node:crypto"
import { crc32 } from "node:zlib"

const [router, clusterHex, ...uids] = process.argv.slice(2)
const CODES = { Hello: 1, Welcome: 2, JoinRefused: 3, WhoAreYou: 4, Ping: 5, Goodbye: 6, Heartbeat: 8, Submit: 16,
  Answers: 17, Login: 32, LoginAck: 33, PresenceDigest: 37, PresenceDiffers: 38, PresenceShard: 39, Deliver: 48,
  DeliverAck: 49 }
const NAMES = Object.fromEntries(Object.entries(CODES).map(([name, code]) => [code, name]))
const HEADER = 69, PREFIX = 5, LIFE = 1n, BIG = { useBigInt64: true }
const uuid = randomBytes(16), me = ["node-1", 1, "node-host", uuid, Number(LIFE)]  // name, role, host, life
const start = Buffer.concat([Buffer.from("zmqi\x01"), Buffer.from(clusterHex, "hex").subarray(0, 8), uuid, u64(LIFE)])
const entries = uids.map((uid, index) => [index + 1, uid, 0, 1, "node", 0])  // session, uid, flag, level, device, login
const publisher = new Publisher({ linger: 0 })
const routingId = `node-1:${uuid.toString("hex", 0, 4)}:${LIFE}`
const dealer = new Dealer({ routingId, linger: 0, maxMessageSize: 16 << 20 })
let peer = null, link = 1n  // the life of the router while the link is up; one more for each link
let counter = 0, ringHash = Buffer.alloc(0), outbox = Promise.resolve()

function u32(number) { const bytes = Buffer.alloc(4); bytes.writeUInt32BE(number); return bytes }
function u64(number) { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(number); return bytes }

function say(event, fields) {
  console.log(JSON.stringify({ event, ...fields }, (_, value) => typeof value === "bigint" ? `${value}` : value))
}

function frameOf(messages, to, number) {  // of [name, body] pairs
  const parts = messages.flatMap(([name, fields]) => {
    const body = encode(fields, BIG)
    return [Buffer.from([CODES[name]]), u32(body.length), body]
  })
  const sealed = Buffer.concat([start, to ?? Buffer.alloc(24), u64(number), ...parts])
  return Buffer.concat([sealed, u32(crc32(sealed))])
}

function* messagesIn(frame) {  // nothing, if it is damaged, or for another life or link
  const end = frame.length - 4
  if (end < HEADER || !frame.subarray(0, 13).equals(start.subarray(0, 13))) return
  if (frame.readUInt32BE(end) !== crc32(frame.subarray(0, end))) return
  if (!frame.subarray(37, 53).equals(uuid) || frame.readBigUInt64BE(61) !== link) return
  for (let at = HEADER, next; at < end; at = next) {
    next = at + PREFIX + frame.readUInt32BE(at + 1)
    yield [NAMES[frame[at]], decode(frame.subarray(at + PREFIX, next), BIG)]
  }
}

function send(...messages) { outbox = outbox.then(() => dealer.send(frameOf(messages, peer, link))) }
function hello() { if (!peer) send(["Hello", [...me, publisher.lastEndpoint, Buffer.alloc(0), {}]]) }
function heartbeat() { return frameOf([["Heartbeat", [...me, 0, ++counter, 0, 0, 0, 1, ringHash, []]]], null, 0n) }
function linkLost() { peer = null; link += 1n; hello() }
const originOf = (session) => (BigInt(uuid.readUInt32BE(0)) << 32n) | BigInt(session)

function sendMessage(from, to, text) {
  const [a, b] = [crc32(from), crc32(to)]
  const channel = a > b || (a === b && from > to) ? `${from}@${to}` : `${to}@${from}`
  const operation = [1, 1, channel, from, `node-${Date.now()}`, Buffer.from(text), 0, 0, 0, "", originOf(1), false]
  send(["Submit", [[[100, Buffer.from(`\x01${channel}`), 0, encode(operation, BIG)]]]])
}

const take = {
  Welcome([name, , , , hash], frame) {
    if (peer) return
    ;[peer, ringHash] = [Buffer.from(frame.subarray(13, 37)), hash]
    say("welcome", { name })
    send(...entries.map((entry) => ["Login", [entry[0], entry]]))
  },
  JoinRefused([sentence]) { say("refused", { sentence }); process.exit(8) },
  WhoAreYou: linkLost,
  Goodbye: linkLost,
  Ping([answer]) { if (!answer) send(["Ping", [true]]) },
  LoginAck([session, loginNo]) {
    entries[session - 1][5] = loginNo
    say("login", { uid: uids[session - 1] })
    if (entries.every((entry) => entry[5])) sendMessage(uids[0], uids[1], "hello from Node")
  },
  PresenceDiffers([partitions]) {
    send(...partitions.map((partition) => ["PresenceShard", [partition, entries]]))
    say("vouched", { partitions })
  },
  Answers([items]) {
    for (const [request, code, result] of items)
      say("answer", { request, code, result: code ? null : decode(result, BIG) })
  },
  Deliver([number, items]) {
    for (const [channelType, channelId, sequence, id, , operation, sessions] of items) {
      const [tag, , , from, , payload, , , , , origin] = decode(operation, BIG)
      if (tag !== 1) continue // events of streams
      const to = sessions.filter((session) => originOf(session) !== BigInt(origin)).map((session) => uids[session - 1])
      say("deliver", { channelType, channelId, sequence, id, from, payload: Buffer.from(payload).toString(), to })
    }
    send(["DeliverAck", [number]])
  },
}

await publisher.bind("tcp://127.0.0.1:*")
dealer.connect(router)
hello()
setInterval(hello, 500)
// Without xxh3 at hand we count nothing: the router asks for each shard that it holds, and gets all sessions.
setInterval(() => peer && send(["PresenceDigest", [[]]]), 10_000)
setInterval(() => publisher.send(["hb.g", heartbeat()]), 250)
for await (const [frame] of dealer) for (const [name, body] of messagesIn(frame)) take[name]?.(body, frame)
