"""Who is probably alive: heartbeats, failure detection and the table of members.

Gossip only hints. It decides where work is routed first; it never decides what is committed.
"""
