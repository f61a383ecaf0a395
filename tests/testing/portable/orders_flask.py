"""The function that blocks, served by another framework."""

import flask
from orders import blocking, client

import inngest.flask

app = flask.Flask("orders")
inngest.flask.serve(app, client, [blocking])
