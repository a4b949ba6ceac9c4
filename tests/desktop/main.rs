//! The built app on a real desktop (Xvfb, openbox, xfce4-panel, dunst), used with the mouse.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod app;
mod cost;
mod desktop;
mod gauge;
mod panel;
mod scenes;
mod states;
mod switch;
mod tools;
mod tray_host;
mod tray_menu;
