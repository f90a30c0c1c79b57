// One user of the unmodified JavaScript SDK, driven by a test: a JSON object a line.
//
//   in   {"do": "connect", "addr", "uid", "token"}   {"do": "send", "to", "type", "text"}
//        {"do": "history", "api", "key", "channel", "type", "limit"}
//        {"do": "drop_recvacks", "count"}            {"do": "cut"}
//   out  {"event": "status", "status", "reason"}     {"event": "sendack", "seq", "id", "message_seq", "reason"}
//        {"event": "message", "id", "seq", "from", "channel", "type", "text", "timestamp", "red_dot", "dup"}
//        {"event": "history", "messages": [like message]}
//        Status 4 is a kick. What the SDK logs goes to stderr.
import { register } from "node:module";
import { createInterface } from "node:readline";
import WebSocket from "ws";

console.log = console.error;
register("./sdk_hooks.mjs", import.meta.url);

const RECVACK = 6;
let recvacksToDrop = 0;

// The network between SDK and server: it can lose acknowledgements and connections.
class Socket extends WebSocket {
  send(data) {
    if (data[0] >> 4 === RECVACK && recvacksToDrop > 0) {
      recvacksToDrop -= 1;
      return;
    }
    super.send(data);
  }
}
globalThis.WebSocket = Socket;

const { default: WKSDK } = await import("wukongimjssdk/lib/index.js");
const { Channel, Message, MessageText, PullMode, SyncOptions } = await import(
  "wukongimjssdk/lib/model.js"
);
const sdk = WKSDK.shared();

function tell(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

sdk.connectManager.addConnectStatusListener((status, reason) => {
  tell({ event: "status", status, reason });
});
sdk.chatManager.addMessageStatusListener((ack) => {
  tell({
    event: "sendack",
    seq: ack.clientSeq,
    id: ack.messageID.toString(),
    message_seq: ack.messageSeq,
    reason: ack.reasonCode,
  });
});
sdk.chatManager.addMessageListener((message) => {
  if (message.messageID === undefined) return; // our own, before it is sent
  tell({ event: "message", ...fieldsOf(message) });
});

function fieldsOf(message) {
  return {
    id: message.messageID.toString(),
    seq: message.messageSeq,
    from: message.fromUID,
    channel: message.channel.channelID,
    type: message.channel.channelType,
    text: message.content.text,
    timestamp: message.timestamp,
    red_dot: message.header.reddot,
    dup: message.header.dup,
  };
}

// The SDK leaves HTTP to the application; this is the callback of its own example.
function historyFrom(api, key) {
  return async (channel, options) => {
    const answer = await fetch(`${api}/channel/messagesync`, {
      method: "POST",
      headers: { "Content-Type": "application/json", token: key },
      body: JSON.stringify({
        login_uid: sdk.config.uid,
        channel_id: channel.channelID,
        channel_type: channel.channelType,
        start_message_seq: options.startMessageSeq,
        end_message_seq: options.endMessageSeq,
        pull_mode: options.pullMode,
        limit: options.limit,
      }),
    });
    return (await answer.json()).messages.map((row) => {
      const payload = new Uint8Array(Buffer.from(row.payload, "base64"));
      return new Message({
        messageID: row.message_idstr,
        messageSeq: row.message_seq,
        clientMsgNo: row.client_msg_no,
        fromUID: row.from_uid,
        channelID: row.channel_id,
        channelType: row.channel_type,
        timestamp: row.timestamp,
        reddot: row.header.red_dot === 1,
        dup: false,
        payload,
      });
    });
  };
}
process.on("unhandledRejection", (error) => tell({ event: "error", text: String(error) }));

const actions = {
  connect({ addr, uid, token }) {
    Object.assign(sdk.config, { addr, uid, token });
    sdk.connectManager.connect();
  },
  send({ to, type, text }) {
    sdk.chatManager.send(new MessageText(text), new Channel(to, type));
  },
  async history({ api, key, channel, type, limit }) {
    sdk.config.provider.syncMessagesCallback = historyFrom(api, key);
    const options = Object.assign(new SyncOptions(), { limit, pullMode: PullMode.Down });
    const messages = await sdk.chatManager.syncMessages(new Channel(channel, type), options);
    tell({ event: "history", messages: messages.map(fieldsOf) });
  },
  drop_recvacks({ count }) {
    recvacksToDrop = count;
  },
  cut() {
    sdk.connectManager.ws.ws.terminate();
  },
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  actions[command.do](command);
}
process.exit(0);
