//! What this process may do: root, its capabilities, who may write swrun's folders, group `swrun`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};

use super::{Finding, Level};
use crate::model::Places;

/// The group whose members may operate environments.
const GROUP: &str = "swrun";

/// What is lost without a capability.
struct Need {
    capability: Capability,
    level: Level,
    loss: &'static str,
}

const NEEDS: [Need; 9] = [
    Need {
        capability: Capability::CAP_SYS_ADMIN,
        level: Level::Bad,
        loss: "no cage can be built (namespaces, mounts, cgroups)",
    },
    Need {
        capability: Capability::CAP_SETUID,
        level: Level::Bad,
        loss: "an app cannot become its own user",
    },
    Need {
        capability: Capability::CAP_SETGID,
        level: Level::Bad,
        loss: "an app cannot get its own groups",
    },
    Need {
        capability: Capability::CAP_SETPCAP,
        level: Level::Bad,
        loss: "an app's capabilities cannot be taken away for good",
    },
    Need {
        capability: Capability::CAP_KILL,
        level: Level::Bad,
        loss: "an app of another user cannot be stopped",
    },
    Need {
        capability: Capability::CAP_CHOWN,
        level: Level::Degraded,
        loss: "folders cannot be given to deploy users",
    },
    Need {
        capability: Capability::CAP_DAC_OVERRIDE,
        level: Level::Degraded,
        loss: "folders of other users cannot be entered",
    },
    Need {
        capability: Capability::CAP_SYS_RESOURCE,
        level: Level::Degraded,
        loss: "hard limits cannot be raised",
    },
    Need {
        capability: Capability::CAP_BPF,
        level: Level::Degraded,
        loss: "who binds a port cannot be decided in the kernel (unless CAP_SYS_ADMIN is there)",
    },
];

/// Looks at this process and at the folders of `places`.
pub fn examine(places: &Places) -> Vec<Finding> {
    let mut findings = vec![judge_root(nix::unistd::geteuid().is_root())];
    findings.push(match caps::read(None, CapSet::Effective) {
        Ok(own) => judge_capabilities(&own),
        Err(_) => Finding::unknown("capabilities", "the capabilities of this process"),
    });
    findings.push(match nix::unistd::Group::from_name(GROUP) {
        Ok(group) => judge_group(group.is_some()),
        Err(_) => Finding::unknown("group", "the group database"),
    });
    for folder in [places.etc(), places.profiles(), places.state()] {
        if let Ok(status) = std::fs::symlink_metadata(&folder) {
            findings.extend(judge_folder(&folder, status.uid(), status.mode()));
        }
    }
    findings
}

fn judge_root(is_root: bool) -> Finding {
    if is_root {
        Finding::good("root", "this is root")
    } else {
        Finding::degraded(
            "root",
            "this is not root: part of what follows is a guess",
            "sudo swrun doctor",
        )
    }
}

fn judge_capabilities(own: &CapsHashSet) -> Finding {
    let missing: Vec<_> = NEEDS
        .iter()
        // CAP_SYS_ADMIN has all of CAP_BPF in it (capabilities(7)).
        .filter(|need| {
            need.capability != Capability::CAP_BPF || !own.contains(&Capability::CAP_SYS_ADMIN)
        })
        .filter(|need| !own.contains(&need.capability))
        .collect();
    let Some(level) = missing.iter().map(|need| need.level).max() else {
        return Finding::good("capabilities", "all that are needed");
    };
    let losses: Vec<_> =
        missing.iter().map(|need| format!("without {}: {}", need.capability, need.loss)).collect();
    Finding {
        topic: "capabilities",
        level,
        text: losses.join("; "),
        advice: Some(
            "run swrun as root outside of a container, or give the container these".to_string(),
        ),
    }
}

fn judge_group(exists: bool) -> Finding {
    if exists {
        return Finding::good(
            "group",
            "the group \"swrun\" exists: its members may operate environments",
        );
    }
    Finding::degraded(
        "group",
        "there is no group \"swrun\": only root and each deploy user may operate environments",
        "swrun setup",
    )
}

/// A folder of swrun's that somebody else could write would hand root to them.
fn judge_folder(folder: &Path, uid: u32, mode: u32) -> Option<Finding> {
    let others_write = mode & 0o022 != 0;
    let folder = folder.display();
    (uid != 0 || others_write).then(|| {
        Finding::bad(
            "folders",
            format!("\"{folder}\" can be written by others than root, who could run programs as any user"),
            format!("chown root:root \"{folder}\"; chmod go-w \"{folder}\""),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_loss_decides() {
        let all = caps::all();
        assert_eq!(judge_capabilities(&all).level, Level::Good);
        let without = |lost: &[Capability]| {
            judge_capabilities(&all.iter().filter(|c| !lost.contains(c)).copied().collect())
        };
        let resource = without(&[Capability::CAP_SYS_RESOURCE]);
        assert_eq!(resource.level, Level::Degraded);
        assert!(resource.text.contains("without CAP_SYS_RESOURCE: hard limits"), "{resource:?}");
        assert_eq!(without(&[Capability::CAP_BPF]).level, Level::Good);
        let two = without(&[Capability::CAP_SYS_RESOURCE, Capability::CAP_SETPCAP]);
        assert!(two.level == Level::Bad && two.text.contains("; "), "{two:?}");
    }

    #[test]
    fn a_folder_is_roots_alone() {
        let judge = |uid, mode| judge_folder(Path::new("/etc/swrun"), uid, mode).is_some();
        assert!(!judge(0, 0o40755));
        assert!(judge(0, 0o40775));
        assert!(judge(0, 0o40757));
        assert!(judge(1000, 0o40755));
    }

    #[test]
    fn group_and_root() {
        assert_eq!(judge_group(true).level, Level::Good);
        assert_eq!(judge_group(false).advice.as_deref(), Some("swrun setup"));
        assert_eq!(judge_root(false).level, Level::Degraded);
    }
}
