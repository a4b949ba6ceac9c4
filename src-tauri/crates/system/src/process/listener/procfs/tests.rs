use super::*;
use std::{
    fs::{create_dir_all, write},
    path::Path,
};

const US: u32 = 1000;
const OLLAMA: u32 = 998;
const SYSTEM: &str = "0::/system.slice/ollama.service\n";
const LOOPBACK: &str = "0100007F";
const ANY_4: &str = "00000000";
const ANY_6: &str = "00000000000000000000000000000000";

/// A made-up `/proc`, seen by user 1000. Processes show their files only when [`Tree::shows`] says so.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.us(US, "0000000000000000");
        tree.file(
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\nollama:x:998:997::/usr/share/ollama:/bin/false\n",
        );
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, text).unwrap();
    }

    fn us(&self, uid: u32, capabilities: &str) {
        let status =
            format!("Name:\tpilothouse\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities}\n");
        self.file("self/status", &status);
    }

    fn process(&self, pid: u32, uid: u32, line: &str, group: &str) {
        let name = Path::new(line.split(' ').next().unwrap()).file_name().unwrap_or_default();
        self.file(&format!("{pid}/comm"), &format!("{}\n", name.to_str().unwrap()));
        self.file(&format!("{pid}/cmdline"), &line.replace(' ', "\0"));
        self.file(&format!("{pid}/status"), &format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
        self.file(&format!("{pid}/cgroup"), group);
    }

    fn shows(&self, pid: u32, inode: u64) {
        let folder = self.0.path().join(format!("{pid}/fd"));
        create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(format!("socket:[{inode}]"), folder.join("3")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("0")).unwrap();
    }

    /// `sockets`: address, port, user, inode.
    fn table(&self, name: &str, sockets: &[(&str, u16, u32, u64)]) {
        let mut text =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n".to_owned();
        for (address, port, uid, inode) in sockets {
            text += &format!(
                "   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 100 0\n"
            );
            // A connection at the same port, which listens for nothing.
            text += &format!(
                "   1: {address}:{port:04X} 0100007F:9F73 01 00000000:00000000 00:00000000 00000000  {uid}        0 7 1 0 100 0\n"
            );
        }
        self.file(&format!("net/{name}"), &text);
    }

    fn look(&self) -> Proc {
        Proc { root: self.0.path().into(), passwd: self.0.path().join("passwd") }
    }

    fn ollama(&self) -> Result<Holder, Option<User>> {
        self.look().listener(11434, &|_, words| {
            words.first().is_some_and(|word| word.ends_with("/ollama"))
                && words.get(1).is_some_and(|it| it == "serve")
        })
    }

    fn anything(&self) -> Result<Holder, Option<User>> {
        self.look().listener(11434, &|_, _| false)
    }
}

fn user(uid: u32, name: &str) -> User {
    User { uid, name: Some(name.into()) }
}

#[test]
fn the_service_of_another_user_is_told_by_its_user_and_command_line() {
    let tree = Tree::new();
    tree.table("tcp", &[(LOOPBACK, 11434, OLLAMA, 55)]);
    tree.process(2, 0, "", "0::/\n");
    tree.process(700, US, "/home/me/bin/ollama serve", "0::/user.slice/user-1000.slice/session-2.scope\n");
    tree.shows(700, 54);
    tree.process(812, OLLAMA, "/usr/local/bin/ollama serve", SYSTEM);
    tree.process(813, OLLAMA, "/usr/local/lib/ollama/llama-server --model m --port 4", SYSTEM);
    let holder = tree.ollama().unwrap();
    assert_eq!((holder.pid, holder.known_by, holder.may_signal), (812, KnownBy::CommandLine, false));
    assert_eq!(holder.user, Some(user(OLLAMA, "ollama")));
    assert_eq!(holder.keeper, Some(Keeper::Unit("ollama.service".into())));
    assert_eq!(
        holder.to_string(),
        "ollama (pid 812, of user ollama, kept by systemd, unit ollama.service, judging by its command line)"
    );
    assert!(holder.left_to_owner().unwrap().contains("sudo systemctl disable --now ollama.service"));
    // Who does not know what to look for learns the user.
    assert_eq!(tree.anything(), Err(Some(user(OLLAMA, "ollama"))));
    assert_eq!(tree.anything().unwrap_err().unwrap().to_string(), "user ollama (uid 998)");
    assert_eq!(tree.look().listeners(), []);
}

#[test]
fn of_two_that_may_be_meant_none_is_told() {
    let tree = Tree::new();
    tree.table("tcp", &[(LOOPBACK, 11434, OLLAMA, 55)]);
    tree.process(812, OLLAMA, "/usr/local/bin/ollama serve", SYSTEM);
    tree.process(900, OLLAMA, "/opt/ollama serve", SYSTEM);
    assert_eq!(tree.ollama(), Err(Some(user(OLLAMA, "ollama"))));
    // One of them shows its files, and the socket is not there.
    tree.shows(900, 56);
    assert_eq!(tree.ollama().unwrap().pid, 812);
    // A process of another user is no holder, whatever its name.
    tree.table("tcp", &[(LOOPBACK, 11434, 1001, 55)]);
    assert_eq!(tree.ollama(), Err(Some(User { uid: 1001, name: None })));
}

#[test]
fn the_only_process_of_a_user_is_told_but_never_one_of_root() {
    let tree = Tree::new();
    tree.table("tcp", &[(LOOPBACK, 11434, OLLAMA, 55)]);
    tree.process(812, OLLAMA, "python3 -m http.server", "0::/user.slice/user-998.slice/session-4.scope\n");
    let holder = tree.ollama().unwrap();
    assert_eq!((holder.pid, holder.known_by, holder.keeper.clone()), (812, KnownBy::OnlyProcess, None));
    assert_eq!(holder.left_to_owner().unwrap(), "run “sudo kill 812”");
    assert_eq!(tree.look().listeners(), [(11434, holder)]);
    for uid in [ROOT, OVERFLOW] {
        tree.table("tcp", &[(LOOPBACK, 11434, uid, 55)]);
        tree.process(812, uid, "/sbin/init", "0::/init.scope\n");
        assert_eq!(tree.ollama().unwrap_err().unwrap().uid, uid);
    }
}

#[test]
fn dockers_proxy_is_told_by_port_protocol_and_address() {
    let tree = Tree::new();
    tree.table("tcp", &[(ANY_4, 11434, 0, 55)]);
    tree.table("tcp6", &[(ANY_6, 11434, 0, 56)]);
    let proxy = |pid: u32, rest: &str| {
        let line = format!("/usr/bin/docker-proxy {rest} -container-ip 172.17.0.2 -container-port 11434");
        tree.process(pid, 0, &line, "0::/system.slice/docker.service\n");
    };
    tree.process(1, 0, "/sbin/init", "0::/init.scope\n");
    // The server itself, inside; its pid is seen from outside too.
    tree.process(950, 0, "/bin/ollama serve", "0::/system.slice/docker-3f2a.scope\n");
    proxy(900, "-proto tcp -host-ip 0.0.0.0 -host-port 11434");
    proxy(901, "-proto tcp -host-ip :: -host-port 11434");
    proxy(902, "-proto udp -host-ip 0.0.0.0 -host-port 11434");
    proxy(903, "-proto tcp -host-ip 0.0.0.0 -host-port 8080");
    for holder in [tree.ollama().unwrap(), tree.anything().unwrap()] {
        assert_eq!((holder.pid, holder.known_by, holder.may_signal), (900, KnownBy::Port, false));
        assert_eq!(holder.keeper, Some(Keeper::Container));
        assert!(holder.is_door());
        assert_eq!(holder.kept().unwrap(), "in a container; to end it, stop its container");
    }
    assert_eq!(tree.look().listeners().len(), 1);

    // Older ones listen on a socket of the other kind.
    tree.table("tcp", &[]);
    proxy(901, "-proto tcp -host-ip :: -host-port 8081");
    assert_eq!(tree.ollama().unwrap().pid, 900);
    // One for another address of this machine is not meant; then it is the one inside, on the host's network.
    tree.table("tcp", &[(LOOPBACK, 11434, 0, 57)]);
    let inside = tree.ollama().unwrap();
    assert_eq!((inside.pid, inside.keeper), (950, Some(Keeper::Container)));
}

#[test]
fn nobody_listens() {
    let tree = Tree::new();
    assert_eq!(tree.ollama(), Err(None));
    tree.table("tcp", &[(LOOPBACK, 11435, OLLAMA, 55)]);
    tree.process(812, OLLAMA, "/usr/local/bin/ollama serve", SYSTEM);
    assert_eq!(tree.ollama(), Err(None));
    // Processes of others may be hidden altogether (the mount option hidepid).
    tree.table("tcp", &[(LOOPBACK, 11434, 1001, 55)]);
    assert_eq!(tree.ollama(), Err(Some(User { uid: 1001, name: None })));
    assert_eq!(tree.look().listeners(), []);
}

#[test]
fn whoever_shows_the_socket_holds_it() {
    let tree = Tree::new();
    tree.table("tcp", &[("016AA8C0", 11434, 1001, 54), (LOOPBACK, 11434, US, 55)]);
    tree.process(700, US, "/home/me/server", "0::/user.slice/user-1000.slice/session-2.scope\n");
    tree.process(701, US, "/usr/bin/ollama serve", "0::/user.slice/user-1000.slice/session-2.scope\n");
    tree.shows(700, 55);
    let holder = tree.ollama().unwrap();
    assert_eq!(holder, Holder::new(700, "server".into(), None));
    assert_eq!(tree.look().listeners(), [(11434, holder)]);

    // The files of another user are shown to root, who may signal everybody; without that right nobody is signalled.
    tree.us(0, "000001ffffffffff");
    let holder = tree.ollama().unwrap();
    assert_eq!((holder.user.map(|user| user.uid), holder.may_signal), (Some(US), true));
    tree.us(0, "0000000000000000");
    assert!(!tree.ollama().unwrap().may_signal);
}

#[test]
fn addresses_are_read_and_the_one_that_answers_at_loopback_comes_first() {
    let read = |hex: &str| ip_address(hex).unwrap().to_string();
    assert_eq!(read(LOOPBACK), "127.0.0.1");
    assert_eq!(read("016AA8C0"), "192.168.106.1");
    assert_eq!(read(ANY_6), "::");
    assert_eq!(read("00000000000000000000000001000000"), "::1");
    assert_eq!(read("0000000000000000FFFF00000100007F"), "127.0.0.1");
    assert_eq!(ip_address("local_address"), None);
    assert_eq!(ip_address(""), None);
    let ranked = ["127.0.0.1", "0.0.0.0", "::", "::1", "10.0.0.1"];
    assert!(ranked.map(|address| rank(address.parse().unwrap())).is_sorted());
}

#[test]
fn units_and_containers_are_told_apart_from_plain_processes() {
    let kept = keeper("0::/system.slice/ollama.service\n").unwrap();
    assert_eq!(kept, Keeper::Unit("ollama.service".into()));
    assert_eq!(kept.to_string(), "kept by systemd, unit ollama.service");
    assert_eq!(keeper("0::/system.slice/docker-3f2a.scope\n"), Some(Keeper::Container));
    let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n";
    assert_eq!(keeper(own), Some(Keeper::UserUnit("ollama.service".into())));
    assert_eq!(keeper("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"), None);
    assert_eq!(keeper(""), None);
}
