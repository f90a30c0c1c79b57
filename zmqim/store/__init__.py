"""The disk: journal, rows, identity, birth, durable mark, room. The only importer of plyvel."""
