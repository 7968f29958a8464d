//! Runs the directives of a file.

use super::guests::{Guests, Outcome};
use super::source::Source;
use super::suites::File;
use super::values;
use std::collections::HashMap;
use std::thread;
use wasmtime::error::Context as _;
use wasmtime::*;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};

/// What came of a file.
pub struct FileRun {
    /// Of each directive: its line, and why it failed.
    pub directives: Vec<(usize, Result<()>)>,
    pub preemptions: u64,
}

/// Compiled modules, by their binaries: a file is run several times.
pub struct Modules {
    engine: Engine,
    compiled: HashMap<Vec<u8>, Module>,
}

impl Modules {
    pub fn new(engine: &Engine) -> Modules {
        Modules {
            engine: engine.clone(),
            compiled: HashMap::new(),
        }
    }

    fn compile(&mut self, wasm: Vec<u8>) -> Result<Module> {
        if let Some(module) = self.compiled.get(&wasm) {
            return Ok(module.clone());
        }
        let module = Module::new(&self.engine, &wasm)?;
        self.compiled.insert(wasm, module.clone());
        Ok(module)
    }
}

/// Runs a file in a store of its own. A directive that fails is no reason to stop.
pub fn run(file: &File, modules: &mut Modules, source: Source) -> FileRun {
    let _named = NamedIfItPanics(&file.path, source);
    let lines = Lines::of(file.text);
    let mut directives = Vec::new();
    let mut preemptions = 0;
    if let Err(error) = run_script(file.text, modules, source, |span, result, guests| {
        directives.push((lines.number(span), result));
        preemptions = guests.preemptions;
    }) {
        directives.push((0, Err(error)));
    }
    FileRun {
        directives,
        preemptions,
    }
}

/// # Errors
///
/// For what is about the file as a whole: it does not parse, or the sibling has not run.
fn run_script(
    text: &str,
    modules: &mut Modules,
    source: Source,
    mut ran: impl FnMut(Span, Result<()>, &Guests),
) -> Result<()> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer)?;
    let wast: Wast<'_> = parser::parse(&buffer)?;

    let mut script = Script::new(modules, source)?;
    for directive in wast.directives {
        let span = directive.span();
        let result = script.run(directive);
        ran(span, result, &script.guests);
    }
    match script.has_run_guests {
        true => script.guests.finish(),
        false => Ok(()),
    }
}

/// A file being run.
struct Script<'a> {
    modules: &'a mut Modules,
    guests: Guests,
    linker: Linker<()>,
    /// The instances that others can import, by the name of the module to import.
    registered: Vec<(String, Instance)>,
    named: HashMap<String, Instance>,
    definitions: HashMap<Option<String>, Module>,
    /// The latest instance.
    current: Option<Instance>,
    has_run_guests: bool,
}

impl<'a> Script<'a> {
    fn new(modules: &'a mut Modules, source: Source) -> Result<Script<'a>> {
        let mut guests = Guests::new(&modules.engine, source)?;
        let mut linker = Linker::new(&modules.engine);
        linker.allow_shadowing(true);
        define_spectest(&mut linker, &mut guests.store)?;
        Ok(Script {
            modules,
            guests,
            linker,
            registered: Vec::new(),
            named: HashMap::new(),
            definitions: HashMap::new(),
            current: None,
            has_run_guests: false,
        })
    }

    fn run(&mut self, directive: WastDirective<'_>) -> Result<()> {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name();
                self.current = None;
                let module = self.compile(&mut module)?;
                self.instantiate(name, &module)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let name = module.name().map(owned);
                let module = self.compile(&mut module)?;
                self.definitions.insert(name, module);
                Ok(())
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                self.current = None;
                let module = self.definitions.get(&module.map(owned));
                let module = module.context("no such module")?.clone();
                self.instantiate(instance, &module)
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module)?;
                self.registered.push((name.to_owned(), instance));
                Ok(())
            }
            WastDirective::Invoke(call) => {
                self.invoke(&call)?.context("the call failed")?;
                Ok(())
            }
            WastDirective::AssertReturn { exec, results, .. } => {
                let values = self.execute(exec)?.context("should have returned")?;
                values::check(&mut self.guests.store, &values, &results)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                trapped(self.execute(exec)?, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                trapped(self.invoke(&call)?, message)
            }
            WastDirective::AssertException { exec, .. } => {
                let outcome = self.execute(exec)?;
                // The next call that throws must not find it there.
                let exception = self.guests.store.take_pending_exception();
                match outcome {
                    Err(error) if error.is::<ThrownException>() => {
                        exception.context("the exception is lost")?;
                        Ok(())
                    }
                    other => bail!("expected an exception, but got {other:?}"),
                }
            }
            WastDirective::AssertMalformed { mut module, .. }
            | WastDirective::AssertInvalid { mut module, .. } => {
                let Ok(wasm) = module.encode() else {
                    return Ok(());
                };
                let valid = Module::validate(&self.modules.engine, &wasm);
                ensure!(valid.is_err(), "this module should not be valid");
                Ok(())
            }
            WastDirective::AssertUnlinkable { module, .. } => {
                let module = self.compile(&mut QuoteWat::Wat(module))?;
                ensure!(self.link(&module).is_err(), "this module should not link");
                Ok(())
            }
            other => bail!("not supported: {other:?}"),
        }
    }

    fn compile(&mut self, module: &mut QuoteWat<'_>) -> Result<Module> {
        self.modules.compile(module.encode()?)
    }

    fn link(&mut self, module: &Module) -> Result<InstancePre<()>> {
        // A linker knows memories and tables by the size that they had when they were defined.
        for (name, instance) in &self.registered {
            self.linker
                .instance(&mut self.guests.store, name, *instance)?;
        }
        self.linker.instantiate_pre(module)
    }

    fn start(&mut self, module: &Module) -> Result<Outcome<Instance>> {
        let pre = self.link(module)?;
        self.has_run_guests = true;
        self.guests.start(&pre)
    }

    fn instantiate(&mut self, name: Option<Id<'_>>, module: &Module) -> Result<()> {
        let instance = self.start(module)?.context("the start failed")?;
        self.current = Some(instance);
        if let Some(name) = name {
            self.named.insert(owned(name), instance);
        }
        Ok(())
    }

    fn instance(&self, name: Option<Id<'_>>) -> Result<Instance> {
        let instance = match name {
            Some(name) => self.named.get(name.name()).copied(),
            None => self.current,
        };
        instance.context("no such instance")
    }

    fn execute(&mut self, what: WastExecute<'_>) -> Result<Outcome<Vec<Val>>> {
        match what {
            WastExecute::Invoke(call) => self.invoke(&call),
            WastExecute::Wat(module) => {
                let module = self.compile(&mut QuoteWat::Wat(module))?;
                Ok(self.start(&module)?.map(|_| Vec::new()))
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                let store = &mut self.guests.store;
                let global = instance.get_global(&mut *store, global);
                let value = global.context("no such global")?.get(store);
                Ok(Ok(vec![value]))
            }
        }
    }

    fn invoke(&mut self, call: &WastInvoke<'_>) -> Result<Outcome<Vec<Val>>> {
        let instance = self.instance(call.module)?;
        let store = &mut self.guests.store;
        let func = instance.get_func(&mut *store, call.name);
        let func = func.context("no such function")?;
        let arguments = call.args.iter().map(|arg| values::argument(store, arg));
        let arguments: Vec<_> = arguments.collect::<Result<_>>()?;
        self.has_run_guests = true;
        self.guests.call(func, &arguments)
    }
}

fn owned(id: Id<'_>) -> String {
    id.name().to_owned()
}

/// # Errors
///
/// If guest code did not trap with this message.
fn trapped<R: std::fmt::Debug>(outcome: Outcome<R>, message: &str) -> Result<()> {
    let error = match outcome {
        Ok(returned) => bail!("expected the trap `{message}`, but returned {returned:?}"),
        Err(error) => error,
    };
    let found = format!("{error:?}");
    let says = |part: &str| message.contains(part);
    // Wasmtime does not say which element, and of which type a null is.
    let same = found.contains(message)
        || says("uninitialized element") && found.contains("uninitialized element")
        || says("null") && found.contains("uninitialized element")
        || says("null") && found.contains("null reference");
    ensure!(same, "expected the trap `{message}`, but got: {found}");
    Ok(())
}

/// What the specification's tests import. Nothing is printed.
fn define_spectest(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<()> {
    const SPECTEST: &str = "spectest";
    linker.func_wrap(SPECTEST, "print", || {})?;
    linker.func_wrap(SPECTEST, "print_i32", |_: i32| {})?;
    linker.func_wrap(SPECTEST, "print_i64", |_: i64| {})?;
    linker.func_wrap(SPECTEST, "print_f32", |_: f32| {})?;
    linker.func_wrap(SPECTEST, "print_f64", |_: f64| {})?;
    linker.func_wrap(SPECTEST, "print_i32_f32", |_: i32, _: f32| {})?;
    linker.func_wrap(SPECTEST, "print_f64_f64", |_: f64, _: f64| {})?;

    for (name, value) in [
        ("global_i32", Val::I32(666)),
        ("global_i64", Val::I64(666)),
        ("global_f32", Val::F32(666.6_f32.to_bits())),
        ("global_f64", Val::F64(666.6_f64.to_bits())),
    ] {
        let ty = GlobalType::new(value.ty(&*store)?, Mutability::Const);
        let global = Global::new(&mut *store, ty, value)?;
        linker.define(&mut *store, SPECTEST, name, global)?;
    }

    for (name, ty) in [
        ("table", TableType::new(RefType::FUNCREF, 10, Some(20))),
        ("table64", TableType::new64(RefType::FUNCREF, 10, Some(20))),
    ] {
        let table = Table::new(&mut *store, ty, Ref::Func(None))?;
        linker.define(&mut *store, SPECTEST, name, table)?;
    }

    let memory = Memory::new(&mut *store, MemoryType::new(1, Some(2)))?;
    linker.define(&mut *store, SPECTEST, "memory", memory)?;
    // Only some suites have them.
    if let Ok(memory) = SharedMemory::new(store.engine(), MemoryType::shared(1, 2)) {
        linker.define(&mut *store, SPECTEST, "shared_memory", memory)?;
    }
    Ok(())
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines([0].into_iter().chain(ends).collect())
    }

    fn number(&self, span: Span) -> usize {
        self.0.partition_point(|start| *start <= span.offset())
    }
}

/// A panic does not say which file it is about.
struct NamedIfItPanics<'a>(&'a str, Source);

impl Drop for NamedIfItPanics<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in {} under {}", self.0, self.1);
        }
    }
}
