//! Sans-IO SMTP: the hot verbs, the path grammar, DATA and BDAT.
