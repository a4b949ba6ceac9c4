//! The tray as data: Snapshot -> TrayModel, and what differs between two of them.
