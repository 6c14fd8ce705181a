"""The MCP seam: a tool server that is dead, slow or dies costs its tools, and not the chat.

seam        what Copilot finds in the place of its class, a subclass made of the parts below
server      one server object of one chat: how long is waited for it, and what the model reads if it fails
link        its connection, held by one task from the first byte to the close
directory   what the process knows of each server, by URL: up or down, why, and when it is asked again
"""
