//! Other layouts of the same code.
//!
//! Functions are aligned to 32 bytes and lines of the instruction cache are 64 bytes
//! long. Whether the few instructions of a hot loop are in one line or in two makes a
//! difference of up to a third, and a change of the code before it changes that by
//! chance. A function in front of all others, of one size or another, does the same on
//! purpose.

use wasm_encoder::reencode::{self, Error, Reencode};
use wasm_encoder::{CodeSection, Function, FunctionSection, Module, TypeSection, ValType};
use wasmparser::{CodeSectionReader, FunctionSectionReader, Parser, TypeSectionReader};
use wasmtime::Result;
use wasmtime::error::Context as _;

/// `guest`, a module without imports, with a function in front of its own that is
/// larger for a larger `layout`. 0 is the guest as it is.
pub fn laid_out(guest: &[u8], layout: u32) -> Result<Vec<u8>> {
    let guest = wat::parse_bytes(guest)?.into_owned();
    if layout == 0 {
        return Ok(guest);
    }
    let mut module = Module::new();
    let mut shift = Shift { layout, ty: 0 };
    shift
        .parse_core_module(&mut module, Parser::new(0), &guest)
        .context("cannot put a function in front of the guest's own")?;
    Ok(module.finish())
}

struct Shift {
    layout: u32,
    /// The type of the new function.
    ty: u32,
}

impl Reencode for Shift {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, index: u32) -> std::result::Result<u32, Error> {
        Ok(index + 1)
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> std::result::Result<(), Error> {
        reencode::utils::parse_type_section(self, types, section)?;
        self.ty = types.len();
        types.ty().function([ValType::I64], [ValType::I64]);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> std::result::Result<(), Error> {
        functions.function(self.ty);
        reencode::utils::parse_function_section(self, functions, section)
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> std::result::Result<(), Error> {
        let mut function = Function::new([]);
        let mut body = function.instructions();
        body.local_get(0);
        for i in 0..i64::from(self.layout) {
            // 12 to 16 bytes each, that nothing can be made of.
            let odd = 0x1234_5678_9abc_def1 + 2 * i;
            body.local_get(0).i64_const(odd).i64_mul().i64_xor();
        }
        body.end();
        code.function(&function);
        reencode::utils::parse_code_section(self, code, section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::{BROAD, PAPER};
    use wasmtime::{Engine, Instance, Module, Store, Val};

    #[test]
    fn a_guest_in_another_layout_is_the_same_guest() -> Result<()> {
        let engine = Engine::default();
        for workload in [&PAPER[0], &BROAD[0], &BROAD[2]] {
            let answer = workload.answer();
            for layout in [0, 1, 7] {
                let module = Module::new(&engine, laid_out(workload.guest, layout)?)?;
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let run = instance
                    .get_func(&mut store, "run")
                    .expect("it is exported");
                let mut result = [Val::I32(0)];
                run.call(&mut store, &[Val::I32(1)], &mut result)?;
                answer.check(&result[0])?;
            }
        }
        Ok(())
    }

    #[test]
    fn layouts_differ_by_more_than_lines() -> Result<()> {
        let engine = Engine::default();
        let mut shifts = Vec::new();
        for layout in 1..8 {
            let module = Module::new(&engine, laid_out(BROAD[0].guest, layout)?)?;
            let first = module.functions().nth(1).expect("it has functions");
            shifts.push(first.offset % 64);
        }
        assert!(shifts.contains(&0) && shifts.contains(&32), "{shifts:?}");
        Ok(())
    }
}
