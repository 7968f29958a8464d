//! Host functions that no instance has called: `Caller` has no exports to show, and does not
//! panic.

use crate::support::*;
use wasmtime::*;

for_each_preemption!(
    a_host_function_that_is_a_thread_has_no_calling_instance,
    a_concurrent_one_that_is_a_thread_has_none,
    a_plain_call_of_a_host_function_has_none,
    a_host_function_called_by_an_instance_has_it,
);

const WAT: &str = r#"
(module
  (import "" "host" (func $host))
  (memory (export "memory") 1)
  (func (export "run") (call $host)))
"#;

/// What a host function has found: an export by name, and by its index.
type Found = Option<(bool, bool)>;

struct Hosts {
    store: Store<Found>,
    module: Module,
    export: ModuleExport,
}

impl Hosts {
    fn new(preemption: Preemption) -> Hosts {
        let engine = engine(preemption);
        let module = Module::new(&engine, WAT).unwrap();
        Hosts {
            store: Store::new(&engine, None),
            export: module.get_export_index("memory").unwrap(),
            module,
        }
    }

    fn host(&mut self) -> Func {
        let export = self.export;
        Func::wrap(&mut self.store, move |caller: Caller<'_, Found>| {
            look(caller, &export);
        })
    }

    fn run(&mut self, func: Func) -> Found {
        let id = self.store.spawn_wasm_thread(func, &[]).unwrap();
        run_all(&mut self.store);
        returned(&mut self.store, id);
        self.store.data_mut().take()
    }
}

fn look(mut caller: Caller<'_, Found>, export: &ModuleExport) {
    let by_name = caller.get_export("memory").is_some();
    let by_index = caller.get_module_export(export).is_some();
    *caller.data_mut() = Some((by_name, by_index));
}

fn a_host_function_that_is_a_thread_has_no_calling_instance(preemption: Preemption) {
    let mut hosts = Hosts::new(preemption);
    let host = hosts.host();
    assert_eq!(hosts.run(host), Some((false, false)));
}

fn a_concurrent_one_that_is_a_thread_has_none(preemption: Preemption) {
    let mut hosts = Hosts::new(preemption);
    let export = hosts.export;
    let host = Func::wrap_concurrent(
        &mut hosts.store,
        move |caller: &preempt::ConcurrentCaller<Found>, ()| {
            Box::pin(async move { caller.with(|caller| look(caller, &export)) })
        },
    )
    .unwrap();
    assert_eq!(hosts.run(host), Some((false, false)));
}

fn a_plain_call_of_a_host_function_has_none(preemption: Preemption) {
    let mut hosts = Hosts::new(preemption);
    let host = hosts.host();
    host.call(&mut hosts.store, &[], &mut []).unwrap();
    assert_eq!(*hosts.store.data(), Some((false, false)));
}

fn a_host_function_called_by_an_instance_has_it(preemption: Preemption) {
    let mut hosts = Hosts::new(preemption);
    let host = hosts.host();
    let instance = Instance::new(&mut hosts.store, &hosts.module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut hosts.store, "run").unwrap();
    assert_eq!(hosts.run(run), Some((true, true)));
}

#[test]
fn the_thread_on_the_cpu_is_known_where_the_store_is_not() {
    for preemption in sources() {
        let (mut store, _) = guests(preemption);
        let on_cpu = store.wasm_threads().thread_on_cpu().unwrap();
        assert_eq!(on_cpu.get(), None);
        let seen = on_cpu.clone();
        let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
            assert_eq!(seen.get(), caller.wasm_threads().current());
            assert!(seen.get().is_some());
        });
        let ids = [(); 3].map(|()| store.spawn_wasm_thread(host, &[]).unwrap());
        run_all(&mut store);
        for id in ids {
            returned(&mut store, id);
        }
        assert_eq!(on_cpu.get(), None);
    }
}
