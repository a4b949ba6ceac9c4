//! One owner per piece of state. Each actor has a mailbox; nothing outside changes what it owns.
