"""The peers of pyengine, one module each, behind the interface of voices.Peer; test_peers.py finds and times them."""
