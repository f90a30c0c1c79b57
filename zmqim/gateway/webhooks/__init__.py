"""An application is told over HTTP of messages and of who is online: `webhook://` of a topology."""
