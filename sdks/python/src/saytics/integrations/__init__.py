"""A few lines each for frameworks; nothing here is imported unless a program asks for it by name.

saytics.integrations.django      settings, and `track(request, ...)` at commit
saytics.integrations.asgi        FastAPI, Starlette: `request.state.saytics`
saytics.integrations.flask       `saytics.track(...)` within a request
saytics.integrations.celery      workers that send what their tasks have tracked
saytics.integrations.aws_lambda  a handler that has sent everything when it returns
"""
