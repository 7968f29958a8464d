//! `wasi:http`: guest threads answer requests, each in an instance of its own or one after the
//! other in the same one.

use crate::support::{HANG, sources};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use preempt_wasi::http::{Handle, Proxy};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::runtime::Builder;
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime::preempt::*;
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpCtx, WasiHttpCtxView, WasiHttpView, default_hooks};

#[derive(Default)]
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    handles: Vec<Handle>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: default_hooks(),
        }
    }
}

struct Server {
    store: Store<State>,
    proxy: Proxy<State>,
    /// By path.
    answers: Arc<Mutex<HashMap<&'static str, Response<HyperOutgoingBody>>>>,
}

impl Server {
    fn new(source: Preemption) -> Server {
        let mut config = Config::new();
        config.preemption(source);
        let engine = Engine::new(&config).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/serve.wat");
        let component = Component::from_file(&engine, file).unwrap();
        let proxy = Proxy::new(linker(&engine).instantiate_pre(&component).unwrap()).unwrap();
        Server {
            store: Store::new(&engine, State::default()),
            proxy,
            answers: Arc::default(),
        }
    }

    fn request(
        &mut self,
        path: &'static str,
    ) -> (
        Resource<HostIncomingRequest>,
        Resource<HostResponseOutparam>,
    ) {
        let request = Request::builder().uri(format!("http://test{path}"));
        let body = Full::new(Bytes::new()).map_err(|never| -> Error { match never {} });
        let mut http = self.store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request.body(body).unwrap());
        let answers = self.answers.clone();
        let response = http.new_response_outparam_from_callback(move |answer| {
            answers.lock().unwrap().insert(path, answer.unwrap());
        });
        (request.unwrap(), response.unwrap())
    }

    /// Spawns a thread in an instance of its own.
    fn spawn(&mut self, path: &'static str) -> ThreadId {
        let (request, response) = self.request(path);
        let options = ThreadOptions::new();
        let spawned = self.proxy.spawn(
            &mut self.store,
            options,
            request,
            response,
            |mut store, it| {
                store.data_mut().handles.push(it);
            },
        );
        spawned.unwrap().id()
    }

    /// The status of the answer to a path.
    fn status(&self, path: &str) -> Option<StatusCode> {
        let answers = self.answers.lock().unwrap();
        answers.get(path).map(Response::status)
    }
}

fn linker(engine: &Engine) -> Linker<State> {
    let mut linker = Linker::new(engine);
    preempt_wasi::p2::add_to_linker(&mut linker).unwrap();
    preempt_wasi::http::add_to_linker(&mut linker).unwrap();
    linker
}

#[test]
fn threads_answer_requests_beside_one_that_never_does() {
    for source in sources() {
        let mut server = Server::new(source);
        let spinning = server.spawn("/spin");
        let paths = ["/", "/work", "/sleep", "/other"];
        let mut left: Vec<ThreadId> = paths.iter().map(|path| server.spawn(path)).collect();
        while !left.is_empty() {
            server.store.run_wasm_threads_for(HANG / 1000).unwrap();
            left.retain(|thread| thread.take_exit(&mut server.store).is_none());
        }
        for path in paths {
            assert_eq!(server.status(path), Some(StatusCode::OK), "{path}");
        }
        assert_eq!(server.status("/spin"), None);
        assert!(spinning.take_exit(&mut server.store).is_none());
    }
}

#[test]
fn function_of_an_instance_answers_the_next_request() {
    for source in sources() {
        let mut server = Server::new(source);
        let mut lengths = Vec::new();
        for _ in 0..3 {
            match server.store.data_mut().handles.pop() {
                None => {
                    server.spawn("/count");
                }
                Some(handle) => {
                    let (request, response) = server.request("/count");
                    let options = ThreadOptions::new();
                    let params = (request, response);
                    let spawned = options.spawn_component_typed(&mut server.store, &handle, params);
                    spawned.unwrap();
                    server.store.data_mut().handles.push(handle);
                }
            }
            // It has room for the whole body.
            server.store.run_wasm_threads_for(HANG).unwrap();
            let answer = server.answers.lock().unwrap().remove("/count").unwrap();
            let runtime = Builder::new_current_thread().build().unwrap();
            let body = runtime.block_on(answer.into_body().collect()).unwrap();
            lengths.push(body.to_bytes().len());
        }
        assert_eq!(lengths, [1, 2, 3]);
    }
}

#[test]
fn component_that_answers_no_requests_is_an_error() {
    let engine = Engine::default();
    let component = Component::new(&engine, "(component)").unwrap();
    let pre = linker(&engine).instantiate_pre(&component).unwrap();
    let error = Proxy::new(pre).err().unwrap().to_string();
    assert!(error.contains("`wasi:http/incoming-handler`"), "{error}");
}
