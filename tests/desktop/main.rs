//! The built app on a real desktop (Xvfb, openbox, xfce4-panel, dunst), used with the mouse.

#![cfg(target_os = "linux")]

mod app;
mod desktop;
mod group;
mod panel;
mod switch;
mod tools;
mod tray_host;
mod tray_menu;
