//! Keys with a keyring that is told how to misbehave. A real one is in `tests/keyring`.

use super::*;
use futures_util::FutureExt;

/// How the scripted keyring is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Locked,
    /// Locked, and its owner types the password after so many seconds.
    Opens(u64),
    Absent,
    Silent,
    Broken,
}

struct Scripted {
    mood: Mutex<Mood>,
    entries: Mutex<BTreeMap<String, String>>,
    asked_owner: std::sync::atomic::AtomicUsize,
}

impl Scripted {
    fn new(mood: Mood, entries: &[(&str, &str)]) -> Arc<Self> {
        let entries = entries.iter().map(|(user, key)| (user.to_string(), key.to_string())).collect();
        Arc::new(Self {
            mood: Mutex::new(mood),
            entries: Mutex::new(entries),
            asked_owner: Default::default(),
        })
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn answer<T: Send + 'static>(
        self: &Arc<Self>,
        user: &str,
        act: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Answer<T> {
        let mut entries = self.entries.lock().unwrap();
        let holds = entries.contains_key(user);
        match *self.mood.lock().unwrap() {
            Mood::Well => std::future::ready(Ok(act(&mut entries))).boxed(),
            Mood::Locked | Mood::Opens(_) => std::future::ready(Err(Fault::Locked { holds })).boxed(),
            Mood::Absent => std::future::ready(Err(Fault::Absent)).boxed(),
            Mood::Silent => std::future::pending().boxed(),
            Mood::Broken => std::future::ready(Err(Fault::Broken("the keyring failed (x)".into()))).boxed(),
        }
    }
}

impl Keyring for Arc<Scripted> {
    fn read(&self, user: String) -> Answer<Option<String>> {
        self.answer(&user, |entries| entries.get(&user).cloned())
    }

    fn write(&self, user: String, key: String) -> Answer<()> {
        self.answer(&user, |entries| drop(entries.insert(user.clone(), key)))
    }

    fn remove(&self, user: String) -> Answer<bool> {
        self.answer(&user, |entries| entries.remove(&user).is_some())
    }

    fn unlock(&self, _: String) -> Answer<()> {
        self.asked_owner.fetch_add(1, Ordering::Relaxed);
        let this = self.clone();
        let mood = *self.mood.lock().unwrap();
        async move {
            match mood {
                Mood::Opens(seconds) => {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    this.be(Mood::Well);
                    Ok(())
                }
                Mood::Silent => std::future::pending().await,
                _ => Err(Fault::Locked { holds: true }),
            }
        }
        .boxed()
    }
}

struct Scene {
    keys: Keys,
    keyring: Arc<Scripted>,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(mood: Mood, in_keyring: &[(&str, &str)], in_file: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        if let Some(text) = in_file {
            std::fs::write(&file, text).unwrap();
        }
        let keyring = Scripted::new(mood, in_keyring);
        let keys = Keys::with(Some(file.clone()), Some(Arc::new(keyring.clone())));
        Self { keys, keyring, file, folder }
    }

    /// The keys of a later life.
    fn again(&self) -> Keys {
        Keys::with(Some(self.file.clone()), Some(Arc::new(self.keyring.clone())))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn owner_was_asked(&self) -> usize {
        self.keyring.asked_owner.load(Ordering::Relaxed)
    }
}

fn studio() -> ServerId {
    ServerId::new("studio")
}

async fn told(keys: &Keys) -> Option<String> {
    keys.get(&studio()).await.map(|key| key.expose().to_owned())
}

#[tokio::test]
async fn without_a_keyring_they_live_in_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let keys = || Keys::with(Some(file.clone()), None);
    assert_eq!(told(&keys()).await, None);
    assert_eq!(keys().set(&studio(), Secret::new("sk-studio-1")).await.unwrap(), KeyPlace::File);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(told(&keys()).await.as_deref(), Some("sk-studio-1"));
    assert_eq!(keys().get(&ServerId::new("other")).await, None);
    keys().remove(&studio()).await.unwrap();
    assert_eq!(told(&keys()).await, None);
    keys().remove(&studio()).await.unwrap();
}

/// What each keyring makes of setting, of reading in the next life, and of removing.
#[tokio::test(start_paused = true)]
async fn a_new_key_is_kept_whatever_the_keyring_does_and_a_removal_is_never_feigned() {
    let old = [("studio", "sk-old-key")];
    for (mood, place, removed) in [
        (Mood::Well, KeyPlace::Keyring, Ok(())),
        (Mood::Opens(3), KeyPlace::Keyring, Ok(())),
        (Mood::Locked, KeyPlace::File, Err("the keyring is locked")),
        (Mood::Opens(1000), KeyPlace::File, Err("the keyring is locked")),
        (Mood::Absent, KeyPlace::File, Ok(())),
        (Mood::Silent, KeyPlace::File, Err("does not answer")),
        (Mood::Broken, KeyPlace::File, Err("the keyring failed")),
    ] {
        let scene = Scene::new(mood, &old, None);
        assert_eq!(scene.keys.set(&studio(), Secret::new("sk-new-key")).await.unwrap(), place, "{mood:?}");
        assert_eq!(told(&scene.keys).await.as_deref(), Some("sk-new-key"), "{mood:?}");
        // The keyring may still have the old one.
        scene.keyring.be(Mood::Well);
        assert_eq!(told(&scene.again()).await.as_deref(), Some("sk-new-key"), "{mood:?}");

        scene.keyring.be(mood);
        let got = scene.keys.remove(&studio()).await;
        match removed {
            Ok(()) => assert_eq!(got, Ok(()), "{mood:?}"),
            Err(words) => {
                let error = got.unwrap_err();
                assert!(
                    error.code == ErrorCode::System && error.message.contains(words),
                    "{mood:?}: {error:?}"
                );
                assert!(error.hint.is_some(), "{mood:?}: {error:?}");
            }
        }
        assert!(!scene.text().contains("sk-"), "{mood:?}: {}", scene.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_a_keyring_that_is_lost_is_not_said_to_be_forgotten_and_stays_in_use() {
    for mood in [Mood::Locked, Mood::Absent, Mood::Silent, Mood::Broken] {
        let scene = Scene::new(Mood::Well, &[("studio", "sk-studio-1")], None);
        assert_eq!(told(&scene.keys).await.as_deref(), Some("sk-studio-1"));
        scene.keyring.be(mood);
        let error = scene.keys.remove(&studio()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::System, "{mood:?}: {error:?}");
        assert_eq!(told(&scene.keys).await.as_deref(), Some("sk-studio-1"), "{mood:?}");
        scene.keyring.be(Mood::Well);
        scene.keys.remove(&studio()).await.unwrap();
        assert_eq!(told(&scene.again()).await, None, "{mood:?}");
    }
    let scene = Scene::new(Mood::Absent, &[], None);
    assert_eq!(scene.keys.remove(&studio()).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_keyring_that_is_locked_at_login_is_looked_at_again_and_its_owner_asked_once() {
    for mood in [Mood::Locked, Mood::Opens(90), Mood::Absent, Mood::Silent, Mood::Broken] {
        let scene = Scene::new(mood, &[("studio", "sk-studio-1"), ("other", "sk-other-1")], None);
        let (keys, start) = (&scene.keys, Instant::now());
        assert_eq!(told(keys).await, None, "{mood:?}");
        assert_eq!(keys.get(&ServerId::new("other")).await, None, "{mood:?}");
        assert!(start.elapsed() <= 2 * LIMIT, "{mood:?}: nobody waits for a person");
        assert_eq!(keys.why_unread(&studio()).is_some(), mood != Mood::Absent, "{mood:?}");
        assert_eq!(keys.kept(&studio()).await.is_err(), mood != Mood::Absent, "{mood:?}");
        let asks = matches!(mood, Mood::Locked | Mood::Opens(_));
        let too_soon = tokio::time::timeout(Duration::from_secs(80), keys.newly_read()).await;
        assert!(too_soon.is_err(), "{mood:?}: {too_soon:?}");
        if !matches!(mood, Mood::Opens(_)) {
            scene.keyring.be(Mood::Well);
        }
        let mut read = [keys.newly_read().await, keys.newly_read().await];
        read.sort();
        assert_eq!(read, [ServerId::new("other"), studio()], "{mood:?}");
        assert!(start.elapsed() < Duration::from_secs(80) + 2 * AGAIN, "{mood:?}: {:?}", start.elapsed());
        assert_eq!(told(keys).await.as_deref(), Some("sk-studio-1"), "{mood:?}");
        assert_eq!(scene.owner_was_asked(), usize::from(asks), "{mood:?}");
        assert_eq!(keys.kept(&studio()).await, Ok(Some(KeyPlace::Keyring)), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_a_locked_keyring_that_holds_nothing_of_ours_is_left_in_peace() {
    let scene = Scene::new(Mood::Locked, &[], None);
    assert_eq!(told(&scene.keys).await, None);
    let nothing = tokio::time::timeout(Duration::from_secs(600), scene.keys.newly_read()).await;
    assert!(nothing.is_err() && scene.owner_was_asked() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_file_of_keys_that_cannot_be_read_is_left_as_it_is() {
    for text in ["", "{\"studio\": \"sk-old", "[]", "{\"studio\": 7}", "sk-plain"] {
        for mood in [Mood::Well, Mood::Absent] {
            let scene = Scene::new(mood, &[], Some(text));
            assert_eq!(told(&scene.keys).await, None, "{text}");
            let error = scene.keys.set(&studio(), Secret::new("sk-new-key")).await.unwrap_err();
            assert!(error.code == ErrorCode::System && error.message.contains("cannot be read"), "{error:?}");
            assert!(!error.message.contains("sk-"), "{error:?}");
            assert_eq!(scene.keys.remove(&studio()).await.unwrap_err().code, ErrorCode::System);
            assert_eq!(scene.text(), text, "{mood:?}");
            std::fs::write(&scene.file, "{\"studio\": \"sk-mended\"}").unwrap();
            assert_eq!(scene.keys.newly_read().await, studio(), "{mood:?}");
            assert_eq!(told(&scene.keys).await.as_deref(), Some("sk-mended"), "{mood:?}");
        }
    }
    // Nor is a folder in its place taken for an empty file.
    let scene = Scene::new(Mood::Absent, &[], None);
    std::fs::create_dir(scene.folder.path().join("keys.json")).unwrap();
    assert!(scene.keys.set(&studio(), Secret::new("sk-new-key")).await.is_err());
}
