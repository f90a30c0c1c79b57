// An application around the JavaScript SDK: the callbacks of its provider, made of zmqim's HTTP API,
// and the rest of what the SDK can, as commands of sdk_driver.mjs.
//
//   in   {"do": "application", "apis", "key", "uid", "token"}: from then on addresses come from /route
//        {"do": "say", "to", "type", "kind", "text", "mention", "reply", "receipt", "topic", "stream"}: kind
//             is text, card (of our own), image (with something to upload first), or a type's number
//        {"do": "disconnect"}   {"do": "reconnect"}   {"do": "ping"}
//        {"do": "pages", "channel", "type", "start", "end", "limit", "up"}
//        {"do": "conversations"}   {"do": "open", "channel", "type"}   {"do": "close"}
//        {"do": "begin" or "remove", "channel", "type"}: a conversation, on this device only
//        {"do": "person", "channel"}   {"do": "members", "channel", "type", "uids"}
//        {"do": "subscribe" or "unsubscribe", "channel", "type"}
//        {"do": "read", "channel", "type"}: a receipt for what came since the last ones
//        {"do": "remind", "channel", "type"}   {"do": "listen", "on"}
//   out  {"event": "said", "seq"}             {"event": "command", "cmd", "param", …}
//        {"event": "pong"}                    {"event": "pages", "messages"}
//        {"event": "conversations", "all", "unread"}   {"event": "conversation", "action", "channel", "unread"}
//        {"event": "person", "online"}        {"event": "members", "uids", "me"}
//        {"event": "suback", "reason"}        {"event": "subscribed", "text"}
//        {"event": "receipts", "ids"}         {"event": "reminders", "open", "left"}
//        {"event": "listening", "on"}         {"event": "also", "text"}: to a second listener
import WKSDK from "wukongimjssdk/lib/index.js";
import * as model from "wukongimjssdk/lib/model.js";
import { Setting } from "wukongimjssdk/lib/proto.js";
import { MessageTask, TaskStatus } from "wukongimjssdk/lib/task.js";

const CARD = 30;
const IMAGE = 2;
const PATIENCE_MS = 30_000;
const PAUSE_MS = 50;
const { Channel, Conversation, Message } = model;
const sdk = WKSDK.shared();

class Card extends model.MessageContent {
  get contentType() {
    return CARD;
  }
  encodeJSON() {
    return { content: this.text };
  }
  decodeJSON(content) {
    this.text = content.content;
  }
}

class Image extends model.MediaMessageContent {
  get contentType() {
    return IMAGE;
  }
  encodeJSON() {
    return { content: this.text, url: this.url };
  }
  decodeJSON(content) {
    this.text = content.content;
    this.url = content.url;
  }
}

class Other extends model.MessageContent {
  constructor(type) {
    super();
    this.contentType = type;
  }
  encodeJSON() {
    return { content: this.text };
  }
}

class Upload extends MessageTask {
  start() {
    this.message.content.url = `https://files.example/${this.id}`;
    this.status = TaskStatus.success;
    this.update();
  }
}

export function fieldsOf(message) {
  const { content } = message;
  return {
    id: message.messageID.toString(),
    seq: message.messageSeq,
    number: message.clientMsgNo,
    from: message.fromUID,
    channel: message.channel.channelID,
    type: message.channel.channelType,
    kind: message.contentType,
    text: content.text ?? content.contentObj?.content,
    url: content.url,
    mention: content.mention?.uids,
    reply: content.reply?.messageID,
    timestamp: message.timestamp,
    red_dot: message.header.reddot,
    dup: message.header.dup,
    receipt: message.setting?.receiptEnabled,
    topic: message.setting?.topic,
    stream: message.streamText,
  };
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}

// What a backend's client does: the next gateway, and again after a moment.
async function call(apis, key, path, body) {
  const deadline = Date.now() + PATIENCE_MS;
  for (let turn = 0; ; turn += 1) {
    try {
      const answer = await fetch(apis[turn % apis.length] + path, {
        method: body === undefined ? "GET" : "POST",
        headers: { "Content-Type": "application/json", token: key },
        body: JSON.stringify(body),
      });
      if (answer.status === 200) return await answer.json();
      if (answer.status !== 503) throw new RangeError(`${path}: ${await answer.text()}`);
    } catch (error) {
      if (error instanceof RangeError || Date.now() > deadline) throw error;
    }
    await pause();
  }
}

function messageOf(row) {
  const message = new Message({
    messageID: row.message_idstr,
    messageSeq: row.message_seq,
    clientMsgNo: row.client_msg_no,
    fromUID: row.from_uid,
    channelID: row.channel_id,
    channelType: row.channel_type,
    timestamp: row.timestamp,
    reddot: row.header.red_dot === 1,
    dup: false,
    setting: Setting.fromUint8(row.setting),
    payload: new Uint8Array(Buffer.from(row.payload, "base64")),
  });
  if (row.stream_data) message.streamText = Buffer.from(row.stream_data, "base64").toString();
  return message;
}

// The SDK leaves HTTP to the application; this is the callback of its own example.
export function historyFrom(apis, key) {
  return async (channel, options) => {
    const answer = await call(apis, key, "/channel/messagesync", {
      login_uid: sdk.config.uid,
      channel_id: channel.channelID,
      channel_type: channel.channelType,
      start_message_seq: options.startMessageSeq,
      end_message_seq: options.endMessageSeq,
      pull_mode: options.pullMode,
      limit: options.limit,
    });
    return answer.messages.map(messageOf);
  };
}

function conversationOf(row) {
  const conversation = new Conversation();
  conversation.channel = new Channel(row.channel_id, row.channel_type);
  conversation.unread = row.unread;
  conversation.timestamp = row.timestamp;
  conversation.lastMessage = messageOf(row.recents[0]);
  return conversation;
}

function use({ apis, key, uid, token }) {
  const ask = (path, body) => call(apis, key, path, body);
  Object.assign(sdk.config, { uid, token, heartbeatInterval: 3_000 });
  Object.assign(sdk.config.provider, {
    async connectAddrCallback(found) {
      found((await ask(`/route?uid=${uid}`)).ws_addr);
    },
    syncMessagesCallback: historyFrom(apis, key),
    async syncConversationsCallback() {
      const rows = await ask("/conversation/sync", { uid, version: 0, msg_count: 1 });
      return rows.map(conversationOf);
    },
    async channelInfoCallback(channel) {
      const rows = await ask("/user/onlinestatus", [channel.channelID]);
      const online = Array.isArray(rows) && rows.length > 0;
      return Object.assign(new model.ChannelInfo(), { channel, online });
    },
    messageUploadTaskCallback: (message) => new Upload(message),
    async messageReadedCallback(channel, messages) {
      for (const message of messages) {
        const read = { type: 99, cmd: "read", param: { id: message.messageID } };
        await ask("/message/send", {
          header: { sync_once: 1 },
          from_uid: uid,
          channel_id: channel.channelID,
          channel_type: channel.channelType,
          client_msg_no: `read-${message.messageID}`,
          payload: Buffer.from(JSON.stringify(read)).toString("base64"),
        });
      }
    },
  });
}

export function applicationOf(tell) {
  const arrived = [];
  let members = [];
  let reminders = [];
  const also = (message) => {
    if (message.messageID !== undefined) tell({ event: "also", text: message.content.text });
  };
  sdk.register(CARD, () => new Card());
  sdk.register(IMAGE, () => new Image());
  sdk.chatManager.addMessageListener((message) => {
    if (message.messageID !== undefined) arrived.push(message);
  });
  sdk.chatManager.addCMDListener((message) => {
    const { cmd, param } = message.content;
    tell({ event: "command", ...fieldsOf(message), cmd, param });
  });
  sdk.conversationManager.addConversationListener((conversation, action) => {
    const { channel, unread } = conversation;
    tell({ event: "conversation", action, channel: channel.channelID, unread });
  });
  sdk.receiptManager.addListener((channel, messages) => {
    tell({ event: "receipts", ids: messages.map((message) => message.messageID) });
  });
  Object.assign(sdk.config.provider, {
    syncSubscribersCallback: async () => members,
    syncRemindersCallback: async () => reminders,
    reminderDoneCallback: async () => {},
    syncMessageExtraCallback: async () => [],
    syncConversationExtrasCallback: async () => [],
  });

  function contentOf({ kind, text, mention, reply }) {
    const made = { card: () => new Card(), image: () => new Image() }[kind];
    const content = made?.() ?? (kind === "text" ? new model.MessageText() : new Other(kind));
    content.text = text;
    if (mention) content.mention = Object.assign(new model.Mention(), { uids: mention });
    if (reply) {
      content.reply = Object.assign(new model.Reply(), {
        messageID: reply,
        messageSeq: 1,
        fromUID: sdk.config.uid,
        fromName: "me",
        content: new model.MessageText("what was said"),
      });
    }
    return content;
  }

  return {
    application: use,
    say(command) {
      const setting = new Setting();
      setting.receiptEnabled = command.receipt === true;
      setting.topic = command.topic === true;
      setting.streamNo = command.stream ?? "";
      sdk.chatManager.send(contentOf(command), new Channel(command.to, command.type), setting);
      tell({ event: "said", seq: sdk.chatManager.clientSeq });
    },
    disconnect: () => sdk.disconnect(),
    reconnect({ token }) {
      sdk.config.token = token;
      sdk.connect();
    },
    async ping() {
      try {
        sdk.connectManager.sendPing();
      } catch {
        // It is connecting: the next CONNACK counts as well.
      }
      while (sdk.connectManager.pingRetryCount > 0) await pause();
      tell({ event: "pong" });
    },
    async pages({ channel, type, start, end, limit, up }) {
      const options = Object.assign(new model.SyncOptions(), {
        startMessageSeq: start,
        endMessageSeq: end,
        limit,
        pullMode: up ? model.PullMode.Up : model.PullMode.Down,
      });
      const messages = await sdk.chatManager.syncMessages(new Channel(channel, type), options);
      tell({ event: "pages", messages: messages.map(fieldsOf) });
    },
    async conversations() {
      await sdk.conversationManager.sync();
      await sdk.conversationManager.syncExtra();
      const all = sdk.conversationManager.conversations.map((one) => ({
        channel: one.channel.channelID,
        type: one.channel.channelType,
        unread: one.unread,
        last: fieldsOf(one.lastMessage),
        mentioned: one.isMentionMe,
      }));
      const unread = sdk.conversationManager.getAllUnreadCount();
      tell({ event: "conversations", all, unread });
    },
    open({ channel, type }) {
      const found = sdk.conversationManager.findConversation(new Channel(channel, type));
      sdk.conversationManager.openConversation = found;
    },
    close() {
      sdk.conversationManager.openConversation = undefined;
    },
    begin({ channel, type }) {
      sdk.conversationManager.createEmptyConversation(new Channel(channel, type));
    },
    remove({ channel, type }) {
      sdk.conversationManager.removeConversation(new Channel(channel, type));
    },
    async person({ channel }) {
      const one = new Channel(channel, model.ChannelTypePerson);
      await sdk.channelManager.fetchChannelInfo(one);
      tell({ event: "person", online: sdk.channelManager.getChannelInfo(one).online });
    },
    async members({ channel, type, uids }) {
      members = uids.map((uid, at) => Object.assign(new model.Subscriber(), { uid, version: at }));
      const one = new Channel(channel, type);
      await sdk.channelManager.syncSubscribes(one);
      const found = sdk.channelManager.getSubscribes(one).map((member) => member.uid);
      tell({ event: "members", uids: found, me: sdk.channelManager.getSubscribeOfMe(one)?.uid });
    },
    subscribe({ channel, type }) {
      sdk.onSubscribe(new Channel(channel, type), (message, reason) => {
        if (message) tell({ event: "subscribed", text: message.content.text });
        else tell({ event: "suback", reason });
      });
    },
    unsubscribe({ channel, type }) {
      sdk.onUnsubscribe(new Channel(channel, type), (reason) => tell({ event: "suback", reason }));
    },
    read({ channel, type }) {
      const one = new Channel(channel, type);
      const unread = arrived.filter((message) => message.channel.isEqual(one));
      arrived.length = 0;
      sdk.receiptManager.addReceiptMessages(one, unread);
    },
    async remind({ channel, type }) {
      const one = new Channel(channel, type);
      const reminder = Object.assign(new model.Reminder(), {
        channel: one,
        reminderID: 1,
        reminderType: model.ReminderType.ReminderTypeMentionMe,
        version: 1,
      });
      reminders = [reminder];
      await sdk.reminderManager.sync();
      const found = sdk.conversationManager.findConversation(one);
      const open = found.simpleReminders.length;
      await sdk.reminderManager.done([1]);
      tell({ event: "reminders", open, left: found.simpleReminders.length });
    },
    listen({ on }) {
      if (on) sdk.chatManager.addMessageListener(also);
      else sdk.chatManager.removeMessageListener(also);
      tell({ event: "listening", on });
    },
  };
}
