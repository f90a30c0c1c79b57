"""The HTTP API: a listener like any other (`http://`), with Litestar and uvicorn behind it.

`shapes` are the requests and answers, `asking` turns partition outcomes into them, `users`,
`channels`, `messages` and `system` are the calls, `app` puts them together, `listener` serves them.
"""
