//! The web UI is embedded in a release build: a UI that was built after the engine must build the engine anew.

fn main() {
    println!("cargo::rerun-if-changed=../../../ui/dist");
}
