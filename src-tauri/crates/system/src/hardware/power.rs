//! Where the machine's power comes from, and how sparing it shall be with it.

#[cfg(target_os = "linux")]
use std::path::Path;

/// How the machine is powered at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Power {
    /// `None`: not told. A machine without a battery is on mains.
    pub on_battery: Option<bool>,
    /// The system's own word ("performance", "low power").
    pub mode: Option<String>,
}

/// Asks the system; a few small files, or a short program. Blocking.
#[cfg(target_os = "linux")]
pub fn power() -> Power {
    of_sysfs(Path::new("/sys"))
}

/// Asks the system; a few small files, or a short program. Blocking.
#[cfg(target_os = "macos")]
pub fn power() -> Power {
    use crate::process::{ProcessSpec, run_blocking};
    let said = |what: &str| {
        let spec = ProcessSpec {
            program: "/usr/bin/pmset".into(),
            args: vec!["-g".into(), what.into()],
            env: vec![("LC_ALL".into(), "C".into())],
            env_remove: vec![],
            cwd: None,
        };
        run_blocking(&spec, std::time::Duration::from_secs(2)).ok().map(|finished| finished.stdout)
    };
    of_pmset(said("batt").as_deref().unwrap_or_default(), said("live").as_deref().unwrap_or_default())
}

/// Asks the system. Nothing is told here.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn power() -> Power {
    Power::default()
}

#[cfg(target_os = "linux")]
fn of_sysfs(sys: &Path) -> Power {
    use crate::gauges::sysfs_text;
    let supplies = std::fs::read_dir(sys.join("class/power_supply"));
    let supplies: Vec<_> = supplies.into_iter().flatten().filter_map(Result::ok).collect();
    let said = |file: &str| -> Vec<String> {
        supplies.iter().filter_map(|supply| sysfs_text(&supply.path().join(file))).collect()
    };
    let plugged = said("online").iter().any(|online| online != "0");
    // A mouse has a battery too, and says so by its scope.
    let drains = supplies.iter().any(|supply| {
        let told = |file: &str| sysfs_text(&supply.path().join(file));
        told("type").as_deref() == Some("Battery")
            && told("scope").as_deref() != Some("Device")
            && told("status").as_deref() == Some("Discharging")
    });
    let governor = "devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let mode = sysfs_text(&sys.join("firmware/acpi/platform_profile"))
        .or_else(|| sysfs_text(&sys.join(governor)).map(|governor| format!("{governor} (cpufreq)")));
    Power { on_battery: Some(drains && !plugged), mode }
}

/// From `pmset -g batt` and `pmset -g live`, each empty where it was not told.
#[cfg(any(target_os = "macos", test))]
fn of_pmset(battery: &str, live: &str) -> Power {
    let on_battery = match battery {
        text if text.contains("'Battery Power'") => Some(true),
        text if text.contains("'AC Power'") || text.contains("'UPS Power'") => Some(false),
        _ => None,
    };
    let value = |name: &str| {
        let line = live.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
        line.trim().parse::<u32>().ok()
    };
    let mode = match (value("lowpowermode"), value("powermode")) {
        (Some(1), _) | (_, Some(1)) => Some("low power".to_owned()),
        (_, Some(2)) => Some("high power".to_owned()),
        (Some(0), _) | (_, Some(0)) => Some("automatic".to_owned()),
        _ => None,
    };
    Power { on_battery, mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pmset_is_read_as_far_as_it_tells() {
        let of = |battery: &str, live: &str| {
            let power = of_pmset(battery, live);
            (power.on_battery, power.mode)
        };
        let mains = "Now drawing from 'AC Power'\n";
        let low = "Battery Power:\n lowpowermode         1\n";
        assert_eq!(of(mains, ""), (Some(false), None));
        assert_eq!(
            of("Now drawing from 'Battery Power'\n -InternalBattery-0 80%;", low),
            (Some(true), Some("low power".into()))
        );
        assert_eq!(
            of(mains, " Sleep On Power Button 1\n powermode            2\n").1,
            Some("high power".into())
        );
        assert_eq!(of(mains, " lowpowermode         0\n").1, Some("automatic".into()));
        assert_eq!(of("", "lowpowermode many"), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sysfs_tells_what_drains() {
        let sys = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = sys.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        assert_eq!(of_sysfs(sys.path()), Power { on_battery: Some(false), mode: None }, "a desktop");
        write("class/power_supply/mouse/type", "Battery\n");
        write("class/power_supply/mouse/scope", "Device\n");
        write("class/power_supply/mouse/status", "Discharging\n");
        assert_eq!(of_sysfs(sys.path()).on_battery, Some(false), "a mouse");
        write("class/power_supply/BAT0/type", "Battery\n");
        write("class/power_supply/BAT0/status", "Discharging\n");
        write("class/power_supply/AC/type", "Mains\n");
        write("class/power_supply/AC/online", "0\n");
        assert_eq!(of_sysfs(sys.path()).on_battery, Some(true));
        write("class/power_supply/AC/online", "1\n");
        assert_eq!(of_sysfs(sys.path()).on_battery, Some(false));
        write("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        assert_eq!(of_sysfs(sys.path()).mode.as_deref(), Some("powersave (cpufreq)"));
        write("firmware/acpi/platform_profile", "balanced\n");
        assert_eq!(of_sysfs(sys.path()).mode.as_deref(), Some("balanced"));
    }
}
