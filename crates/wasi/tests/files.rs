//! Files are ready at once.

use crate::support::*;
use std::fs;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

#[test]
fn files_are_read_and_polled() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("files");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    for kind in kinds() {
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(&folder, ".", FsPerms::ReadOnly).unwrap();
        let subscriptions = [
            Subscription::Read(4),
            Subscription::After(MONOTONIC, ms(5000)),
        ];
        let mut guests = Guests::with(kind, &subscriptions, &mut wasi);
        let instance = guests.instance();
        let id = guests.spawn(instance, "open", &[]);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.load(instance, 80), 4);
        let (polling, id) = guests.spawn_poll(2);
        let reader = guests.spawn(instance, "read", &[4]);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(polling), [(1004, 0, 1)]);
        assert_eq!(guests.returned(reader), 0);
        assert_eq!(guests.read(instance), "content");
    }
}
