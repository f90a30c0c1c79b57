"""Every bound of zmqim: named, with its unit, its reason, and what happens when it is reached.

Nothing here is read from the environment. What an operator may set stands in the topology's
``[limits]`` table (zmqim/topology.py) and defaults to the value here.
"""

from __future__ import annotations

KB = 1024
MB = 1024 * KB

# ---- client protocol -------------------------------------------------------------------------
FRAME_BYTES_MAX = 1 * MB
"""WKProto remaining length (WuKongIM v2.2), and a JSON-RPC message. Above: the connection is
closed."""
CONNECT_FRAME_BYTES_MAX = 16 * KB
"""A CONNECT, the only frame or message that an unauthenticated client may send. Above: closed.

Over WebSocket the message around it is cut by picows, whose bound is one for the life of a
connection: until CONNECT_DEADLINE_MS a client can make it hold a message of FRAME_BYTES_MAX.
"""
UID_BYTES_MAX = 512
"""A user id in UTF-8. Above: CONNACK 15, or HTTP 400."""
STRING_BYTES_MAX = 32_767
"""A WKProto string; the length is a signed int16. Above: the connection is closed."""
PAYLOAD_BYTES_MAX = 64 * KB
"""A message's plain payload; the SDKs encode at most 32,767. Above: SENDACK reason 9."""
CONNECT_DEADLINE_MS = 10_000
"""From accept to a complete CONNECT. Passed: close without an answer."""
IDLE_MS_MAX = 180_000
"""No byte from an authenticated client. Passed: close; the SDKs ping every 60 s."""
SENDS_PER_SECOND_MAX = 2_000
SEND_BURST_MAX = 4_000
"""Token bucket per session. Empty: SENDACK reason 22."""
SESSIONS_MAX = 50_000
"""Client connections of one gateway process. Above: close at accept, the SDK comes back."""
CONNECTS_PENDING_MAX = 4_000
"""Connections that have not finished CONNECT. Above: close at accept."""
SESSION_SENDS_PENDING_MAX = 4_096
SESSION_SEND_BYTES_PENDING_MAX = 4 * MB
"""SENDs of one session that wait for their answer. Above: reading from the socket pauses."""
JSONRPC_REQUESTS_OPEN_MAX = 8_192
"""Requests of one JSON-RPC connection whose ids wait for their answer. Above: error 22. Reading
pauses long before (SESSION_SENDS_PENDING_MAX); the rest is what was read already."""
UNACKED_PUSHES_MAX = 256
UNACKED_BYTES_MAX = 256 * KB
"""RECVs of one session without RECVACK. Above: the session is LAGGING and pulls later."""
LAGGING_MESSAGES_MAX = 1_000
LAGGING_UNWRITABLE_MS_MAX = 60_000
"""A LAGGING session further behind, or not writable for longer: closed without DISCONNECT."""
REDELIVERY_PAUSES_MS = (5_000, 10_000, 20_000, 40_000, 80_000)
"""Pauses before each repeated push of an unacknowledged RECV; after the last it is given up."""
WRITE_BUFFER_BYTES_MAX = 1 * MB
"""Bytes in a client's transport. Above: no further push until it drains (LAGGING)."""
CONNACK_DEADLINE_MS = 8_000
"""Token read and presence announcement together. Passed: close without CONNACK."""

# ---- sending ---------------------------------------------------------------------------------
SEND_DEADLINE_MS = 15_000
"""How long a gateway goes on with an unanswered SEND before it closes the session (2.10)."""
REQUEST_RETRY_MS = 1_000
REQUEST_RETRY_MS_MAX = 4_000
"""Pause before an unanswered request is sent again with the same keys: twice as long each time, for
when answers are late because everybody is busy, asking again makes them later."""
REPEATS_KNOWN_MAX = 65_536
"""Writes of one router that a storage knows again. Above: the oldest is logged again and found to
be a duplicate where it is applied."""
NOT_LEADER_RETRY_MS = 50
"""Pause after a refusal that may pass; doubles up to REQUEST_RETRY_MS, or to the next bound."""
LEADER_RETRY_MS_MAX = 250
"""The longest pause while the answer is NOT_LEADER, UNAVAILABLE or UNKNOWN, or no router is there:
a new leader serves within about a second of the old one's death."""
ROUTER_TRIES = 2
"""Tries without an outcome through one router. Then the next one is asked: the first may be cut off
from the leader, and every router routes everything."""
READ_DEADLINE_MS = 5_000
"""HTTP reads and member look-ups. Passed: an error that says so."""
SYSTEM_UIDS_READ_MS = 5_000
"""How often each gateway reads the system uids: so late a change may be known to it."""
SYSTEM_UIDS_MAX = 10_000
"""Above: HTTP 400. Each gateway keeps them all and reads them in one page."""
GATEWAY_REQUESTS_MAX = 65_536
"""Requests of one gateway that wait for an answer. Above: 22 to SENDs, 503 to HTTP."""

# ---- bus -------------------------------------------------------------------------------------
BUS_FRAME_BYTES_MAX = 16 * MB
"""ZMQ_MAXMSGSIZE of ROUTER and DEALER; a larger frame drops the link."""
HEARTBEAT_FRAME_BYTES_MAX = 4_096
"""ZMQ_MAXMSGSIZE of SUB sockets."""
HEARTBEAT_SEND_FRAMES_MAX = 100
"""High-water mark of PUB. Above: a slow subscriber misses heartbeats."""
BUS_SEND_FRAMES_MAX = 128
BUS_RECEIVE_FRAMES_MAX = 128
"""ZMQ high-water marks: a last-resort fuse under our own queues, not flow control. Small, because a
frame holds up to BATCH_BYTES_MAX."""
PEER_QUEUE_MESSAGES_MAX = 4_096
PEER_QUEUE_BYTES_MAX = 64 * MB
"""Own queue per link above ZeroMQ. Above: a message is refused to the core, which answers BUSY."""
TURN_FRAMES_MAX = 512
TURN_BYTES_MAX = 8 * MB
"""What one loop turn drains (frames, each of 1..n messages) before it works: keeps heartbeats on
time under load. The rest stays in ZeroMQ for the next turn."""
BATCH_ITEMS_MAX = 4_096
BATCH_BYTES_MAX = 4 * MB
"""Items of one Submit/Propose/Deliver/Appends, and bytes of a frame of several messages. Above: the
rest goes into a further one."""
LINK_SILENCE_MS_MAX = 3_000
"""A link without any frame for so long is down; both ends send Ping each LINK_PING_MS."""
LINK_PING_MS = 1_000
HELLO_RETRY_MS = 100
RECONNECT_MS_MIN = 50
RECONNECT_MS_MAX = 500
"""ZeroMQ dials again after MIN to 2 MIN (drawn once a socket), doubling up to MAX."""
LEAVE_LINGER_MS = 200
"""What ZeroMQ gets to write Goodbyes when a process leaves; else sockets close at once."""
FLUSH_RETRY_MS = 2
"""Pause before frames that ZeroMQ did not take are offered again."""
JOIN_GRACE_MS = 1_000
"""How long more peers must differ from us than agree with us before we stop (exit code 8)."""
JOIN_SETTLED_MS = 10_000
"""A process that ran so long in agreement stays, whoever knocks with another topology."""

# ---- gossip ----------------------------------------------------------------------------------
HEARTBEAT_MS = 250
PUSH_PULL_MS = 30_000
SEEDS_AGAIN_MS = 60_000
PHI_WINDOW_COUNT = 100
PHI_SUSPECT = 8.0
PHI_MIN_STDDEV_FRACTION = 0.25
PHI_PAUSE_HEARTBEATS = 2
SUSPECT_TO_DOWN_MS = 2_000
"""SUSPECT for so long (times local health) without refutation becomes DOWN."""
LOCAL_HEALTH_MAX = 8
MEMBERS_MAX = 64
"""Processes of one cluster with a full heartbeat mesh (promise P12)."""

# ---- presence and fan-out --------------------------------------------------------------------
PRESENCE_BATCH_MAX = 1_000
PRESENCE_DIGEST_MS = 10_000
PRESENCE_TTL_MS = 3 * PRESENCE_DIGEST_MS
"""Entries of a gateway that sent no digest for so long are dropped."""
PRESENCE_SETTLE_MS_MIN = 1_000
PRESENCE_SETTLE_MS_MAX = 3_000
"""A router that has just started fans nothing out before the gateways told it their sessions: not
before the first, and at the latest after the second, whether or not they did."""
LARGE_CHANNEL_UP_COUNT = 200
LARGE_CHANNEL_DOWN_COUNT = 150
"""Members at which a channel gets the second fan-out plan, and at which it loses it."""
GATEWAY_CREDIT_BYTES = 8 * MB
"""Delivered but unacknowledged bytes per (router, gateway). Above: dirty marks, no payloads."""
DIRTY_CHANNELS_MAX = 100_000
"""Dirty channels kept per gateway. Above: the gateway's oldest mark is dropped and counted."""
MEMBER_SNAPSHOTS_MAX = 10_000
"""Cached member snapshots of one router; the least used goes."""
NOTICES_UNACKED_MAX = 8_192
NOTICES_UNACKED_BYTES_MAX = 16 * MB
"""Notices of a partition that no router acknowledged. Above: later ones are read from the log."""
NOTICE_REPEAT_MS = 1_000

# ---- storage ---------------------------------------------------------------------------------
PARTITIONS_DEFAULT = 32
PARTITIONS_MAX = 2_048
"""At least four for each storage there may ever be (ADR 0016). 11 bits of a message id."""
UNCOMMITTED_PARTITION_BYTES_MAX = 8 * MB
UNCOMMITTED_BYTES_MAX = 64 * MB
"""Proposed but not committed. Above: BUSY."""
JOURNAL_GENERATION_BYTES = 256 * MB
JOURNAL_ENTRIES_KEPT = 4_096
JOURNAL_BYTES_MAX = 256 * MB
DISK_FREE_WARN_BYTES = 1024 * MB
DISK_FREE_MIN_BYTES = 256 * MB
"""Below: proposals are refused with reason 15; reads go on; it heals with room."""
DISK_CHECK_MS = 1_000
RESERVE_FILE_BYTES = 160 * MB
DURABLE_MARK_MS = 1_000
WRITE_BUFFER_BYTES = 64 * MB
TEST_WRITE_BUFFER_BYTES = 64 * KB
HEADS_CACHED_MAX = 65_536
"""Decoded channel heads of one storage, and rows of persons. Above, per partition: read again."""
REQUEST_MEMORY_MS = 3_600_000
"""How long a request id of an HTTP write answers its first result (by entry hlc)."""
MEMBERS_PER_ENTRY_MAX = 1_000
"""Members, uids or list rows changed by one log entry; longer lists are cut."""
PULL_MESSAGES_MAX = 10_000
PULL_BYTES_MAX = 4 * MB
MESSAGES_BY_MAX = 500
"""Sequences, ids or client_msg_nos of one look-up, each. Above: HTTP 400. An id costs a binary
search, some 20 reads of a row: 500 take a storage about 50 ms."""
LOOK_UP_STEPS_MAX = 4_096
"""Rows read for the client_msg_nos of one question, so that nobody waits long behind it (25 ms).
Above: the asker goes on behind the last sender."""
MEMBERS_PAGE_MAX = 10_000
CONVERSATIONS_PAGE_MAX = 1_000
"""Conversations of one person in one answer of their partition."""
STREAM_BYTES_MAX = 1 * MB
"""Payloads and ids of the events of one message. Above: only events that end something are taken,
so that an answer can be read whole in one frame."""
STREAM_EVENTS_MAX = 10_000
"""Events of one message: 10,000 tokens. Above: the same."""
STREAM_LANES_MAX = 16
"""Event keys of one message, all named in the row that each event writes anew. Above: refused."""
STREAM_NAME_BYTES_MAX = 512
"""An event id, or an event key. Above: refused."""
STREAM_ERROR_CHARACTERS_MAX = 1_000
"""The error of a lane that ended with one; each event writes those of its message anew. Above:
refused."""
OPEN_STREAMS_MAX = 64
"""Messages of a channel with an open stream: who opens one looks at all. Above: refused."""
STREAM_SILENCE_MS_MAX = 30 * 60_000
"""Without an event for so long, by the log's clock, an open lane counts as broken."""
STREAMS_ENDED_MAX = 4
"""Broken streams that one event ends beside its own; each may have many rows to fold."""
STREAM_FOLD_EVENTS = 256
"""Events after which the snapshot of a lane is written anew: what a read has to put together."""
EVENTS_PAGE_MAX = 2_000
"""Events in one answer (WuKongIM v2.2)."""
STAMP_AGE_MS_MAX = 5_000
"""How far a partition's clock may be behind when conversations are read; above, an entry is logged,
so that the next version that a client gets is not older. Nobody asks: nothing is logged."""
HEADS_PER_QUERY_MAX = 500
"""Channels that one question to a partition may name."""
FOLLOWERS_MAX = 8
"""Names that follow the log of one partition. Above: the next is refused."""
FOLLOWER_NAME_BYTES_MAX = 64
FOLLOWED_LOG_BYTES_MAX = 256 * MB
"""Log of a process that is kept for those who follow it. Above: the largest log is cut all the
same, and who was not that far is told which entries it missed."""
FOLLOWED_MESSAGES_MAX = 100
FOLLOWED_ENTRIES_MAX = 1_024
FOLLOWED_PAGE_BYTES_MAX = 256 * KB
"""One page for a follower: messages, log entries looked at, and bytes of those."""

# ---- replication -----------------------------------------------------------------------------
SEND_WINDOW_ENTRIES_MAX = 1_024
SEND_WINDOW_BYTES_MAX = 4 * MB
"""Entries of one group on their way to one follower. Above: it is fed later, from the journal."""
LEARNER_LAG_ENTRIES_MAX = 1_000
"""A learner further behind does not become a voter."""
APPEND_RETRY_MS = 1_000
"""No answer to an Append for so long: it is taken for lost, and the follower is probed."""
NODE_HEARTBEAT_MS = 150
"""One NodeHeartbeat a pair of storages, for all groups; also when a read must be confirmed."""
LEADER_SILENCE_MS = 1_000
"""No NodeHeartbeat of the leader for so long: its groups elect another (T_s; doubled while gossip
does not suspect the process)."""
LEADER_LOST_MS = 100
"""The same once the connection to the leader was lost."""
QUORUM_SILENCE_MS = 1_500
"""A leader that heard no majority for so long leads no more (T_e)."""
ELECTION_STAGGER_MS = 150
"""Pause between the candidates of a group, by rank, and at most so much chance on top."""
ELECTION_RETRY_MS = 500
"""After an election without a winner, and as much chance on top, a candidate tries again."""
ELECTION_FALLBACK_MS = 10_000
"""A group whose leader is in no NodeHeartbeat stands up by itself after so long."""

FOLLOWER_APPLY_MS = 50
"""How long a follower lets committed entries gather before it applies them in one write."""
STATE_WRITE_MS = 50
STATE_ROWS_MAX = 8_192
"""How long, and how many, applied rows gather in memory before one synced write. After a crash they
are made again from the journal."""
DIGEST_ENTRIES = 1_024
DIGEST_NOTES_KEPT = 8
"""Replicas compare what they made of the log each so many entries, and keep the digests of the last
so many of those positions."""
ROUNDS_OPEN_MAX = 256
"""NodeHeartbeats whose echo may still come. Above: the oldest confirms no read any more."""
HAND_HOME_MS = 3_000
HAND_HOME_COUNT = 16
"""So many groups at most, each so often, go back to the storage that should lead them, once it has
been back for as long."""
HAND_AWAY_MS = 500
"""How often a storage without room on its disk tries to hand on what it leads."""
UNKNOWN_REPLICAS_MAX = 16_384
"""Replicas whose process is remembered because no configuration here names it: several of each
partition. Above: whoever spoke longest ago is unknown until it speaks again."""
CLOCK_JUMP_MS = 5_000
"""A leader whose wall clock is further from the others' stamps its entries without it."""

# ---- meta group ------------------------------------------------------------------------------
BIRTH_REPEAT_MS = 500
"""How often a storage without a complete birth record asks the others again."""
BOOT_REPEAT_MS = 200
"""How often a storage asks for its incarnation again, another storage each time."""
VOTE_WITHOUT_GRANT_MS = 3_000
"""How long replicas of partitions wait for that grant before they vote without it."""
BOOT_REQUESTS_MAX = 64
"""Storages that wait for the meta group to grant their start. Above: they ask again."""
DRIVER_LOOK_MS = 500
"""How often the leader of the meta group looks for groups that are not as they should be."""
LOOK_SOON_MS = 50
"""The same after a report: more of them come together."""
SETTLED_MS = 3_000
"""Who leads the meta group for so long has heard everyone that lives."""
REPORT_MS = 1_000
REPORT_AGE_MS_MAX = 5_000
"""A group whose leader reported nothing for so long gets no step."""
STEP_REPEAT_MS = 2_000
"""Pause before a step is asked again whose effect no report shows."""
META_PROPOSAL_REPEAT_MS = 2_000
META_PROPOSALS_MAX = 256
"""Operations that one look of the driver proposes. Above: the rest with the next look."""
SNAPSHOTS_PER_NODE_MAX = 4
"""Learners that a node receives or feeds at once. Above: the partition waits for its turn."""
SNAPSHOT_BYTES_PER_SECOND = 32 * MB
"""What a storage sends of snapshots, all together. Above: pulls wait."""
SNAPSHOT_CHUNK_BYTES = 64 * KB
SNAPSHOT_CHUNK_ROWS_MAX = 512
"""One SnapshotChunk; a turn sends one, read in 2 to 3 ms, so that nobody waits long behind it."""
SNAPSHOT_SILENCE_MS = 10_000
"""Without a pull, or a chunk, for so long: the snapshot is closed, the attempt given up."""
SNAPSHOT_AGE_MS_MAX = 3_600_000
"""A snapshot that is kept open longer is closed; its receiver begins anew."""
GARBAGE_ROWS_MAX = 256
GARBAGE_PAUSE_MS = 20
"""Dead rows that one turn deletes, and the pause before the next slice."""

# ---- processes -------------------------------------------------------------------------------
RESTART_PAUSE_MS_MIN = 200
RESTART_PAUSE_REPLICATED_MS = 1_000
RESTART_PAUSE_MS_MAX = 5_000
CRASH_LOOP_DEATHS = 5
ROUTER_DRAIN_MS_MAX = 1_000
"""How long a router that stops waits for answers that are on their way to gateways."""
DRAIN_MS_MAX = 10_000
"""SIGTERM to exit; afterwards the supervisor kills."""
STILL_WAITING_MS = 5_000
"""How often `up` says which processes are not ready yet."""
LOG_TAIL_LINES = 20
"""Lines of a crash-looping process that `up` prints."""
LOG_FILE_BYTES_MAX = 8 * MB
LOG_FILES_KEPT = 2
"""A process's log. Full: it becomes `.1`, the oldest goes."""
ORPHAN_ROUTER_MS_MAX = 3_000
ORPHAN_STORAGE_MS_MAX = 6_000
"""Without a supervisor routers wait so long for gateways to end, storages for routers."""
REPORT_LINE_BYTES_MAX = 4_096
"""A line to the supervisor (PIPE_BUF: written whole or not at all). Longer: cut."""
CONTROL_CLIENTS_MAX = 16
"""Open questions on a control socket. Above: the oldest is closed."""
CONTROL_ANSWER_MS = 2_000
"""How long `zmqim status` waits for a process. Passed: it says so and goes on."""
CONTROL_BYTES_MAX = 4 * MB
"""An answer on a control socket. Above: the asker gives up."""
CAUGHT_UP_ENTRIES_MAX = 1_000
"""What a voter may lack and still be shown as a whole copy (docs/REPLICATION.md 7). From here on
`zmqim status` says that it is catching up."""

# ---- HTTP ------------------------------------------------------------------------------------
HTTP_BODY_BYTES_MAX = 8 * MB
CONVERSATIONS_SHOWN_MAX = 100_000
"""Conversations of one person that a call reads. Above: the call is refused."""
RECENT_MESSAGES_MAX = 1_000
"""Newest messages that a call may ask of each conversation."""
COMMANDS_SHOWN_MAX = 1_000
"""Commands that a person is shown and has not acknowledged; the row that names them is written anew
with each call that shows more. Above: the next ones are shown later."""
COMMAND_ACKS_DELAY_MS = 1_000
"""How long commands that a person acknowledged (RECVACK) are gathered before they are stored."""
COMMAND_ACKS_WAITING_MAX = 65_536
"""Of one gateway, not stored yet. Above: dropped and counted; /message/sync shows them again."""
COMMAND_ACKS_ASKED_MAX = 1_024
"""Persons whose acknowledgements one gateway stores at once. Above: the others wait: what a large
group acknowledges at once must not take all of the partitions' time."""
ACTIVATED_MAX = 1_000
"""Channels in one call of /conversations/activate. Above: refused."""
RECENTS_ASKED_MAX = 20_000
"""Newest messages of all conversations in one answer. Above: each gets fewer, at least one."""
SEND_UIDS_MAX = 10_000
"""Uids of one send to a list of them: they are compared with one page of members. Above: 400."""
HTTP_LIST_MAX = 100_000
"""Uids in one call: a 100,000-member group can be created at once."""
SENDER_KNOWN_MS = 1_000
"""How long a gateway takes a user as not banned whom it asked about for an HTTP send."""
SENDERS_KNOWN_MAX = 20_000
"""Users of whom it knows that. Above: the one read longest ago is read again."""
FINISHED_MAX = 16_384
FINISHED_BYTES_MAX = 768
"""Conversations, and half as many messages, that a gateway keeps as JSON, and how long they may be
before: 40 MB with messages of 100 bytes, 70 at most. Above: what was asked for longest ago goes."""
HTTP_ASKS_AT_ONCE_MAX = 16
"""Questions to partitions that one call has open. Above: the others wait for their turn."""
HTTP_SENDS_AT_ONCE_MAX = 256
"""Messages of one /message/sendbatch, or writes of one call of /bench/v1, on their way. Above: the
others wait for their turn."""
SEND_BATCH_MS_MAX = 60_000
"""One /message/sendbatch. Passed: the uids left are answered as not sent."""
HTTP_ANSWER_BYTES_MAX = 16 * MB
"""Messages in one answer about many channels. Above: the channels left say so."""
SYNC_BATCH_ITEMS_MAX = 200
"""Channels of one /channel/messagesyncbatch (WuKongIM v2.2)."""
BENCH_ITEMS_MAX = 10_000
"""Users, channels or lists of members in one call of /bench/v1, as of the peer (WuKongIM v2.2).
Above: HTTP 400. All lists together name HTTP_LIST_MAX uids at most."""
CONNECTIONS_PAGE_MAX = 1_000
"""Rows of one /connz. Above: HTTP 400; `offset` goes on."""
LOOK_UP_MS_MAX = READ_DEADLINE_MS
"""Going through the senders of a group. Passed: an error that says so."""

# ---- webhooks --------------------------------------------------------------------------------
WEBHOOK_TIMEOUT_MS = 5_000
WEBHOOK_TIMEOUT_MS_MAX = 60_000
"""How long an application may take to answer, unless the topology says otherwise, and at most."""
WEBHOOK_POLL_MS = 500
"""How often a partition without anything new is asked for more. What comes is told in batches of
FOLLOWED_MESSAGES_MAX, or after so long."""
WEBHOOK_POLLS_PER_SECOND_MAX = 250
"""Of one webhook of a gateway. Above: each of its many partitions is asked less often."""
WEBHOOK_POSTS_MAX = 16
"""Partitions that one webhook of a gateway works on at once, each with one POST: a page of each is
in memory. Above: they take turns."""
WEBHOOK_RETRY_MS_MIN = 250
WEBHOOK_RETRY_MS_MAX = 10_000
"""Bounds of the pause before a POST is tried again; it doubles."""
WEBHOOK_TRIES_MAX = 64
"""Answers other than 200, or none in time, to one POST: over 9 minutes of them. Then it becomes a
dead letter. That nobody listens is not counted: the log waits."""
WEBHOOK_BOOK_MS = 1_000
"""How often the log of a partition takes down how far a webhook is."""
WEBHOOK_IDLE_ENTRIES_MAX = 1_024
"""Entries without a message after which the position is moved all the same, so that the log can be
cut. Fewer would make each move the reason for the next."""
WEBHOOK_OFFLINE_MEMBERS_MAX = 10_000
"""Members of a channel up to which msg.offline is made. Above: none, and it is counted."""
WEBHOOK_OFFLINE_UIDS_MAX = 1_000
"""Uids of one msg.offline. Above: the rest in further ones."""
WEBHOOK_STATUSES_MAX = 10_000
WEBHOOK_STATUSES_BATCH_MAX = 512
WEBHOOK_STATUSES_MS = 500
WEBHOOK_STATUS_TRIES_MAX = 5
"""user.onlinestatus that wait, in one POST, how long they gather, and how often a POST is tried.
Above: the oldest are dropped and counted; presence can be asked for."""
WEBHOOK_ANSWER_BYTES_MAX = 128 * KB
"""Read of an answer, so that its connection can be used again. Above: the connection is closed."""
WEBHOOK_SECRET_CHARACTERS_MIN = 16
HOOK_TIMEOUT_MS = 1_000
HOOK_TIMEOUT_MS_MAX = 5_000
"""How long the application that is asked before a message is proposed may take, unless the topology
says otherwise, and at most: what it costs is added to every message."""
HOOK_ASKED_MAX = 64
"""Questions of one gateway that are on their way at once. Above: the others wait, within the same
deadline."""
HOOK_WAITING_MAX = 16_384
"""SENDs of one gateway that wait for an answer. Above: reason 22."""
HOOK_WARNING_MS = 10_000
"""Between two warnings of a gateway that the application gave no answer. Sooner: only counted."""
DEAD_LETTERS_MAX = 10_000
DEAD_LETTERS_BYTES_MAX = 256 * MB
"""What one webhook keeps on its gateway's disk. Above: it waits, and `zmqim status` says so."""

# ---- client SDK ------------------------------------------------------------------------------
CLIENT_OUTBOX_MAX = 1_000
"""Messages of a `Client` without an answer. Above: `send` waits for room."""
CLIENT_WAITING_MAX = 1_024
"""Messages that the application has not taken. Above: dropped without RECVACK, so sent again."""
CLIENT_RECENT_MAX = 4_096
"""Message ids by which repeats are recognised; the oldest is forgotten."""
CLIENT_OPEN_MS_MAX = 5_000
"""To open a connection. Passed: the next address."""
CLIENT_CONNACK_MS_MAX = 10_000
"""From CONNECT to CONNACK. Passed: the connection is dropped, the next address tried."""
CLIENT_PING_MS = 30_000
CLIENT_PONG_MS_MAX = 10_000
CLIENT_SENDACK_MS_MAX = 20_000
"""Silence after a PING or a SEND. Passed: the connection is dropped; open SENDs go again."""
CLIENT_API_MS_MAX = 20_000
"""A call of the HTTP API. Passed: an error. A gateway needs SEND_DEADLINE_MS to give up."""
CLIENT_RETRY_MS_MIN = 250
CLIENT_RETRY_MS_MAX = 15_000
"""Bounds of the pause before a new connection; it doubles, and a random half of it is taken off."""

assert UNACKED_PUSHES_MAX < CLIENT_WAITING_MAX < CLIENT_RECENT_MAX
assert CLIENT_OUTBOX_MAX < SESSION_SENDS_PENDING_MAX < JSONRPC_REQUESTS_OPEN_MAX
assert min(CLIENT_SENDACK_MS_MAX, CLIENT_API_MS_MAX, SEND_BATCH_MS_MAX) > SEND_DEADLINE_MS
assert CLIENT_PING_MS + CLIENT_PONG_MS_MAX < IDLE_MS_MAX
assert UNACKED_PUSHES_MAX < LAGGING_MESSAGES_MAX
assert HTTP_ASKS_AT_ONCE_MAX < HTTP_SENDS_AT_ONCE_MAX < GATEWAY_REQUESTS_MAX
assert COMMAND_ACKS_ASKED_MAX < GATEWAY_REQUESTS_MAX
assert MESSAGES_BY_MAX < LOOK_UP_STEPS_MAX
assert HOOK_TIMEOUT_MS <= HOOK_TIMEOUT_MS_MAX < SEND_DEADLINE_MS
assert HOOK_ASKED_MAX < HOOK_WAITING_MAX < GATEWAY_REQUESTS_MAX
assert PAYLOAD_BYTES_MAX * 4 // 3 < WEBHOOK_ANSWER_BYTES_MAX
assert WEBHOOK_TIMEOUT_MS <= WEBHOOK_TIMEOUT_MS_MAX
assert WEBHOOK_STATUSES_BATCH_MAX <= WEBHOOK_STATUSES_MAX
assert WEBHOOK_RETRY_MS_MIN < WEBHOOK_RETRY_MS_MAX
assert JOURNAL_BYTES_MAX <= FOLLOWED_LOG_BYTES_MAX
assert LARGE_CHANNEL_DOWN_COUNT < LARGE_CHANNEL_UP_COUNT
assert PAYLOAD_BYTES_MAX < BATCH_BYTES_MAX < BUS_FRAME_BYTES_MAX < PEER_QUEUE_BYTES_MAX
assert CONNECT_FRAME_BYTES_MAX < FRAME_BYTES_MAX
assert PAYLOAD_BYTES_MAX < STREAM_BYTES_MAX < PULL_BYTES_MAX < BUS_FRAME_BYTES_MAX
assert STREAM_FOLD_EVENTS < STREAM_EVENTS_MAX
assert CONNACK_DEADLINE_MS < CONNECT_DEADLINE_MS
assert NOT_LEADER_RETRY_MS < LEADER_RETRY_MS_MAX < REQUEST_RETRY_MS < SEND_DEADLINE_MS
assert PARTITIONS_DEFAULT <= PARTITIONS_MAX <= 2**11 < BATCH_ITEMS_MAX  # Acks, one for each
assert HEARTBEAT_MS * 4 < LINK_SILENCE_MS_MAX
assert SEND_WINDOW_BYTES_MAX <= BATCH_BYTES_MAX
assert 4 * NODE_HEARTBEAT_MS < LEADER_SILENCE_MS <= QUORUM_SILENCE_MS
assert RESTART_PAUSE_MS_MIN < RESTART_PAUSE_REPLICATED_MS < RESTART_PAUSE_MS_MAX
assert REPORT_MS < STEP_REPEAT_MS < REPORT_AGE_MS_MAX
