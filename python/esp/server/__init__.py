"""Wiring (the only place where objects are constructed), roles, the supervisor, the embedded stores.

    esp-server serve
    └── supervisor             small; starts, watches, restarts, stops in order
        ├── postgres, valkey   if no others are configured
        └── fork server        has imported everything once
            └── smtp, imap, api, worker, scheduler   share its memory

In: settings and a list of roles. Out: processes that serve, a state file that says
which, and an orderly end."""
