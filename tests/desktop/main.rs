//! The built app on real desktops (Xvfb, openbox, dunst, and xfce4-panel, lxqt-panel, trayer or no tray at all), used with
//! the mouse.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod app;
mod cost;
mod desktop;
mod gauge;
mod hosts;
mod panel;
mod scenes;
mod shortcut;
mod states;
mod switch;
mod tools;
mod tray_host;
mod tray_menu;
