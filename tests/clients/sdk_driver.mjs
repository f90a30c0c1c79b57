// One user of the unmodified JavaScript SDK, driven by a test: a JSON object a line.
//
//   in   {"do": "connect", "addr", "uid", "token"}   {"do": "send", "to", "type", "text"}
//        {"do": "history", "api", "key", "channel", "type", "limit"}
//        {"do": "drop_recvacks", "count"}            {"do": "cut"}
//        and what sdk_application.mjs names: the rest of what the SDK can.
//   out  {"event": "status", "status", "reason"}     {"event": "sendack", "seq", "id", "message_seq", "reason"}
//        {"event": "message", "id", "seq", "from", "channel", "type", "text", "timestamp", "red_dot", "dup", …}
//        {"event": "history", "messages": [like message]}
//        {"event": "error", "text"}: what the SDK threw
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
const { Channel, MessageText, PullMode, SyncOptions } = await import("wukongimjssdk/lib/model.js");
const { applicationOf, fieldsOf, historyFrom } = await import("./sdk_application.mjs");
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
// In a browser the page goes on: such as when the SDK pings a socket that is still connecting.
function tellError(error) {
  tell({ event: "error", text: String(error) });
}
for (const kind of ["unhandledRejection", "uncaughtException"]) process.on(kind, tellError);

const actions = {
  connect({ addr, uid, token }) {
    Object.assign(sdk.config, { addr, uid, token });
    sdk.connectManager.connect();
  },
  send({ to, type, text }) {
    sdk.chatManager.send(new MessageText(text), new Channel(to, type));
  },
  async history({ api, key, channel, type, limit }) {
    sdk.config.provider.syncMessagesCallback = historyFrom([api], key);
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
  ...applicationOf(tell),
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    actions[command.do](command);
  } catch (error) {
    tellError(error); // thrown out of the loop it would end all further commands
  }
}
process.exit(0);
