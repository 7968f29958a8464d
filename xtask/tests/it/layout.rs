use crate::fixture::{Fixture, LIB};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn crates_are_laid_out_at_their_upstream_paths() {
    let fixture = Fixture::pinned();
    let run = fixture.xtask(&["vendor"]).expect_ok();
    assert!(run.stderr.contains("laying out 3 crates of Wasmtime 1.0.0"));
    let tracked = fixture.git(&["ls-files", "--stage"]);
    let files: Vec<String> = tracked
        .lines()
        .map(|line| {
            let (mode, name) = (&line[..6], line.split('\t').nth(1).unwrap());
            format!("{mode} {name}")
        })
        .collect();
    // Neither the third party's, nor what cargo added.
    assert_eq!(
        files,
        [
            "100644 .gitattributes",
            "100644 .gitignore",
            "100644 Cargo.toml",
            "100644 crates/wasmtime/Cargo.toml",
            "100644 crates/wasmtime/inner/Cargo.toml",
            "100644 crates/wasmtime/inner/src/lib.rs",
            "100644 crates/wasmtime/src/fiber.rs",
            "100644 crates/wasmtime/src/lib.rs",
            "100644 large.txt",
            "100755 run.sh",
            "100644 src/lib.rs",
        ]
    );
    let manifest = fixture.read("vendor/wasmtime/crates/wasmtime/Cargo.toml");
    assert!(manifest.starts_with("# Upstream's own manifest."));
    assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    assert_eq!(fixture.in_vendor(), ["upstream", "wasmtime"]);
}

#[test]
fn second_run_changes_nothing_and_is_fast() {
    let fixture = Fixture::patched();
    let before = fixture.snapshot();
    let start = Instant::now();
    let run = fixture.xtask(&["vendor"]).expect_ok();
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(run.stderr, "");
    assert!(before == fixture.snapshot());
}

#[test]
fn fresh_layout_is_the_saved_one() {
    let fixture = Fixture::patched();
    let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fixture.git(&["rev-parse", "HEAD^{tree}"]), tree);
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    assert!(lib.contains("line ten\n"));
}

#[test]
fn laid_out_files_look_newer_than_what_was_built_before() {
    let fixture = Fixture::pinned();
    let before = std::time::SystemTime::now() - Duration::from_secs(1);
    fixture.xtask(&["vendor"]).expect_ok();
    for (file, time, _) in fixture.snapshot() {
        assert!(time > before, "{file}");
    }
}

#[test]
fn layout_does_not_depend_on_the_settings_of_git() {
    let fixture = Fixture::patched();
    let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
    let patch = fixture.read("patches/0001-Count-in-words.patch");
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    let hooks = fixture.home().join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "pre-commit",
        "applypatch-msg",
        "commit-msg",
        "reference-transaction",
    ] {
        let path = hooks.join(hook);
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let config = format!(
        "[core]\nautocrlf = true\nhooksPath = {}\nabbrev = 5\n[commit]\ngpgSign = true\n\
         [user]\nuseConfigOnly = true\n[diff]\nnoprefix = true\ncontext = 7\nrenames = copies\n\
         [format]\nsignature = nobody\nsubjectPrefix = X\nnumbered = true\nthread = true\n\
         [am]\nmessageId = true\n[init]\ndefaultObjectFormat = sha256\n",
        hooks.display()
    );
    fs::write(fixture.home().join(".gitconfig"), config).unwrap();
    let ignore = fixture.home().join(".config/git/ignore");
    fs::create_dir_all(ignore.parent().unwrap()).unwrap();
    fs::write(ignore, "*\n").unwrap();

    fixture.xtask(&["vendor"]).expect_ok();
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
    fs::remove_file(fixture.home().join(".gitconfig")).unwrap();
    assert_eq!(fixture.git(&["rev-parse", "HEAD^{tree}"]), tree);
    assert_eq!(fixture.read("patches/0001-Count-in-words.patch"), patch);
}

#[test]
fn repository_around_it_is_never_touched() {
    let fixture = Fixture::patched();
    let root = fixture.root();
    fixture.git_in(&root, &["init", "--quiet"]);
    fs::write(root.join(".gitignore"), "/vendor/wasmtime\n/vendor/.*\n").unwrap();
    fixture.git_in(&root, &["add", "."]);
    let name = ["-c", "user.name=n", "-c", "user.email=e"];
    fixture.git_in(
        &root,
        &[&name[..], &["commit", "--quiet", "-m", "ours"]].concat(),
    );
    let state = || {
        fixture.git_in(&root, &["rev-parse", "HEAD"])
            + &fixture.git_in(&root, &["status", "--porcelain"])
            + &fixture.git_in(&root, &["for-each-ref"])
    };
    let before = state();

    let into_ours = |command: &mut std::process::Command| {
        command
            .env("GIT_DIR", root.join(".git"))
            .env("GIT_WORK_TREE", &root)
            .env("GIT_INDEX_FILE", root.join(".git/index"));
    };
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask_with(&["vendor"], into_ours).expect_ok();
    fixture
        .xtask_with(&["patches", "save"], into_ours)
        .expect_ok();
    assert_eq!(state(), before);

    // Without a repository of its own, git would take the one around it.
    fs::remove_dir_all(fixture.wasmtime().join(".git")).unwrap();
    for args in [
        &["vendor"][..],
        &["vendor", "--force"],
        &["patches", "save"],
    ] {
        fixture
            .xtask(args)
            .expect_error(&["vendor/wasmtime was not made by `cargo xtask vendor`"]);
    }
    assert_eq!(state(), before);
}

#[test]
fn no_network_is_needed_once_the_cache_is_warm() {
    let fixture = Fixture::pinned();
    fixture.registry.stop();
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn no_network_is_needed_for_the_workspace_either() {
    let fixture = Fixture::patched();
    fixture.add_workspace();
    fixture.empty_cargo_cache();
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture.xtask(&["vendor"]).expect_ok();
    fixture.registry.stop();
    fixture.cargo_in("", &["fetch", "--locked", "--offline", "--quiet"]);
    fixture.xtask(&["vendor"]).expect_ok();
}

#[test]
fn workspace_that_cannot_be_fetched_leaves_a_complete_layout() {
    let fixture = Fixture::patched();
    fixture.add_workspace();
    fixture.registry.stop();
    for _ in 0..2 {
        fixture.xtask(&["vendor"]).expect_error(&[
            "the workspace's crates are not all in cargo's cache",
            "once with access",
        ]);
        fixture.xtask(&["vendor", "--check"]).expect_ok();
    }
}

#[test]
fn workspace_whose_lock_file_is_behind_is_left_to_the_build() {
    let fixture = Fixture::patched();
    fixture.add_workspace();
    fixture.registry.stop();
    let manifest = fixture.read("Cargo.toml");
    fixture.write("Cargo.toml", &manifest.replace("elsewhere = \"1\"\n", ""));
    let lock = fixture.read("Cargo.lock");
    fixture.xtask(&["vendor"]).expect_ok();
    assert_eq!(fixture.read("Cargo.lock"), lock);
}

#[test]
fn check_reads_every_file() {
    let fixture = Fixture::patched();
    fixture.write("overlay/crates/wasmtime/src/new.rs", "// New.\n");
    fixture.xtask(&["vendor"]).expect_ok();
    let run = fixture.xtask(&["vendor", "--check"]).expect_ok();
    assert!(run.stdout.contains("Wasmtime 1.0.0 with 1 patches"));

    // Same size, same time: git's own index does not notice.
    let lib = fixture.wasmtime().join(LIB);
    let time = fs::metadata(&lib).unwrap().modified().unwrap();
    fixture.edit(LIB, "line 30\n", "line xx\n");
    let file = fs::File::options().write(true).open(&lib).unwrap();
    file.set_modified(time).unwrap();
    let before = fixture.snapshot();
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&[&format!("edited: {LIB}")]);
    assert!(before == fixture.snapshot());
}

#[test]
fn check_sees_line_endings_and_files_that_upstream_ignores() {
    let fixture = Fixture::patched();
    let lib = fixture.read(&format!("vendor/wasmtime/{LIB}"));
    fixture.write(
        &format!("vendor/wasmtime/{LIB}"),
        &lib.replace('\n', "\r\n"),
    );
    let ignored = "crates/wasmtime/src/target/mod.rs";
    fixture.write(&format!("vendor/wasmtime/{ignored}"), "// New.\n");
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&[&format!("edited: {LIB}"), &format!("new: {ignored}")]);
    fixture.write(&format!("vendor/wasmtime/{LIB}"), &lib);
    fs::remove_file(fixture.wasmtime().join(ignored)).unwrap();

    // What a build and an editor leave there is neither.
    fixture.write("vendor/wasmtime/target/debug/x.rs", "");
    fixture.write("vendor/wasmtime/crates/wasmtime/src/.lib.rs.swp", "");
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn what_a_person_types_there_meets_no_setting_of_theirs() {
    let fixture = Fixture::patched();
    let hook = fixture.home().join("hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = format!(
        "[core]\nautocrlf = true\nhooksPath = {:?}\n[commit]\ngpgSign = true\n\
         [user]\nuseConfigOnly = true\n",
        hook.parent().unwrap()
    );
    fs::write(fixture.home().join(".gitconfig"), config).unwrap();
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit("Count further");
    fixture.xtask(&["patches", "save"]).expect_ok();
    fixture.xtask(&["patches", "check"]).expect_ok();
}

#[cfg(target_os = "linux")]
#[test]
fn check_needs_to_write_nothing() {
    let fixture = Fixture::patched();
    let lock = fixture.path("vendor/.lock");
    fs::remove_file(&lock).unwrap();
    // Not even root may create a file there.
    std::os::unix::fs::symlink("/sys/.lock", &lock).unwrap();
    fixture
        .xtask(&["vendor"])
        .expect_error(&["cannot create", "vendor/.lock"]);
    fixture.xtask(&["vendor", "--check"]).expect_ok();
}

#[test]
fn check_finds_what_is_not_linked_or_committed() {
    let fixture = Fixture::patched();
    fixture.write("overlay/crates/wasmtime/src/new.rs", "// New.\n");
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&["overlay/crates/wasmtime/src/new.rs is not linked"]);
    fixture.edit(LIB, "line 30\n", "line thirty\n");
    fixture.commit("Count further");
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&["the patched files are tree", "is pinned"]);
    fs::remove_dir_all(fixture.wasmtime()).unwrap();
    fixture
        .xtask(&["vendor", "--check"])
        .expect_error(&["there is no vendor/wasmtime"]);
}
