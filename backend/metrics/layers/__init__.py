"""What is counted, a layer a module: chats, errors, events, HTTP, the system."""
