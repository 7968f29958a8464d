//! In asynchronous runs, on a thread of tokio's.

use crate::support::*;
use std::fs;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime_wasi::cli::{AsyncStdinStream, AsyncStdoutStream};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

fn runtimes() -> impl Iterator<Item = tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    [Builder::new_current_thread(), Builder::new_multi_thread()]
        .into_iter()
        .map(|mut builder| builder.enable_time().build().unwrap())
}

#[test]
fn threads_wait_for_tasks_of_the_same_runtime() {
    for runtime in runtimes() {
        for kind in kinds() {
            runtime.block_on(async {
                let (mut keyboard, stdin) = tokio::io::duplex(64);
                let (stdout, mut screen) = tokio::io::duplex(4);
                let mut wasi = WasiCtxBuilder::new();
                wasi.stdin(AsyncStdinStream::new(stdin));
                wasi.stdout(AsyncStdoutStream::new(4, stdout));
                let subscriptions = [
                    Subscription::Read(0),
                    Subscription::After(MONOTONIC, ms(10_000)),
                ];
                let mut guests = Guests::with(kind, &subscriptions, &mut wasi);
                let reading = guests.instance();
                let reader = guests.spawn(reading, "read", &[0]);
                let (_, poller) = guests.spawn_poll(2);
                let writing = guests.instance();
                let writer = guests.spawn(writing, "write", &[1, 60]);
                let other = tokio::spawn(async move {
                    tokio::time::sleep(ms(20)).await;
                    keyboard.write_all(b"hello").await.unwrap();
                    let mut bytes = [1; 60];
                    screen.read_exact(&mut bytes).await.unwrap();
                    // Closes the input.
                    drop(keyboard);
                    (bytes, screen)
                });
                guests
                    .store
                    .run_wasm_threads_async(Duration::MAX)
                    .await
                    .unwrap();
                assert_eq!(other.await.unwrap().0, [0; 60]);
                assert_eq!(guests.returned(reader), 0);
                assert_eq!(guests.read(reading), "hello");
                assert_eq!(guests.returned(poller), 0);
                assert_eq!(guests.returned(writer), 0);
            });
        }
    }
}

#[test]
fn files_can_be_read_in_a_task() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("in_a_task");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    for runtime in runtimes() {
        for kind in kinds() {
            runtime.block_on(async {
                let mut wasi = WasiCtxBuilder::new();
                wasi.preopened_dir(&folder, ".", FsPerms::ReadOnly).unwrap();
                let mut guests = Guests::with(kind, &[], &mut wasi);
                let instance = guests.instance();
                let opener = guests.spawn(instance, "open", &[]);
                guests
                    .store
                    .run_wasm_threads_async(Duration::MAX)
                    .await
                    .unwrap();
                let reader = guests.spawn(instance, "read", &[4]);
                guests
                    .store
                    .run_wasm_threads_async(Duration::MAX)
                    .await
                    .unwrap();
                assert_eq!(guests.returned(opener), 0);
                assert_eq!(guests.returned(reader), 0);
                assert_eq!(guests.read(instance), "content");
            });
        }
    }
}
