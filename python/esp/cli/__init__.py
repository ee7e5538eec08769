"""The two commands: `esp-server` and `esp-cli`.

In: arguments, standard input, the configuration. Out: tables for people or JSON for programs, one clear line on
standard error for each problem, and an exit code: 0, 1 (failed) or 2 (not understood, or a wrong configuration).

    server      esp-server: serve, migrate, config, version
    admin       esp-cli; its commands are in
                domains (domain, alias)  users  mailboxes  acl (mailbox acl)  messages  moving (import, export)  stats
    console     what every command of esp-cli shares: options, the way to the services, tables and JSON
    options     options before or behind the command, and wrong usage
    pages       the generated pages of docs/reference

`esp-cli` acts through the same services as the doors (`server.administration`). What does not belong here: decisions,
SQL, or anything that another door would need as well.
"""
