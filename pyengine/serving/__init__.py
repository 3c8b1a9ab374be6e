"""What the processes share that serve HTTP and WebSockets beside an engine: the page (eyes) and OSCQuery.

guard.py says whom they answer and how much they take of one client, helper.py is the engine's side (the socket, the
process), http.py the process's.
"""
