"""The Python SDK: `Client` connects, sends, receives and reads history (docs/CLIENT.md)."""

from zmqim.client.client import Client
from zmqim.client.core import ClientClosed
from zmqim.client.messages import Message, Sent, text_payload

__all__ = ["Client", "ClientClosed", "Message", "Sent", "text_payload"]
