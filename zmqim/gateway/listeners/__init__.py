"""The listeners that come with zmqim: WKProto over TCP and over WebSocket."""
