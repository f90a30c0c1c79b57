"""The replicated log core: entries, their chain, terms, votes and what is committed."""
