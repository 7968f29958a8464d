//! Values in a script: arguments of calls, and patterns that results match.

use wasmtime::*;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

pub fn argument(store: &mut Store<()>, argument: &WastArg<'_>) -> Result<Val> {
    let WastArg::Core(argument) = argument else {
        bail!("not a value of a core module: {argument:?}");
    };
    Ok(match argument {
        WastArgCore::I32(n) => Val::I32(*n),
        WastArgCore::I64(n) => Val::I64(*n),
        WastArgCore::F32(n) => Val::F32(n.bits),
        WastArgCore::F64(n) => Val::F64(n.bits),
        WastArgCore::V128(n) => Val::V128(u128::from_le_bytes(n.to_le_bytes()).into()),
        WastArgCore::RefNull(ty) => null(ty)?,
        WastArgCore::RefExtern(n) => Val::ExternRef(Some(ExternRef::new(store, *n)?)),
        WastArgCore::RefHost(n) => {
            let host = ExternRef::new(&mut *store, *n)?;
            Val::AnyRef(Some(AnyRef::convert_extern(store, host)?))
        }
    })
}

fn null(ty: &HeapType<'_>) -> Result<Val> {
    use AbstractHeapType as Ty;
    let HeapType::Abstract { shared: false, ty } = ty else {
        bail!("cannot make a null of {ty:?}");
    };
    Ok(match ty {
        Ty::Func | Ty::NoFunc => Val::FuncRef(None),
        Ty::Extern | Ty::NoExtern => Val::ExternRef(None),
        Ty::Exn | Ty::NoExn => Val::ExnRef(None),
        Ty::Any | Ty::Eq | Ty::Struct | Ty::Array | Ty::I31 | Ty::None => Val::AnyRef(None),
        Ty::Cont | Ty::NoCont => bail!("cannot make a null of {ty:?}"),
    })
}

/// # Errors
///
/// If `results` are not what is expected.
pub fn check(store: &mut Store<()>, results: &[Val], expected: &[WastRet<'_>]) -> Result<()> {
    let mut same = results.len() == expected.len();
    for (result, expected) in results.iter().zip(expected) {
        let WastRet::Core(expected) = expected else {
            bail!("not a value of a core module: {expected:?}");
        };
        same = same && matches(store, result, expected)?;
    }
    ensure!(same, "expected {expected:?}, but got {results:?}");
    Ok(())
}

fn matches(store: &mut Store<()>, result: &Val, expected: &WastRetCore<'_>) -> Result<bool> {
    use WastRetCore as Ret;
    Ok(match (result, expected) {
        (_, Ret::Either(patterns)) => {
            for pattern in patterns {
                if matches(store, result, pattern)? {
                    return Ok(true);
                }
            }
            false
        }
        (Val::I32(n), Ret::I32(expected)) => n == expected,
        (Val::I64(n), Ret::I64(expected)) => n == expected,
        (Val::F32(bits), Ret::F32(expected)) => is_f32(*bits, expected),
        (Val::F64(bits), Ret::F64(expected)) => is_f64(*bits, expected),
        (Val::V128(n), Ret::V128(expected)) => is_v128(n.as_u128(), expected),
        (
            Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None),
            Ret::RefNull(None | Some(HeapType::Concrete(_))),
        ) => true,
        (_, Ret::RefNull(Some(ty))) => matches!(
            (result, null(ty)?),
            (Val::FuncRef(None), Val::FuncRef(_))
                | (Val::ExternRef(None), Val::ExternRef(_))
                | (Val::AnyRef(None), Val::AnyRef(_))
                | (Val::ExnRef(None), Val::ExnRef(_))
        ),
        (Val::FuncRef(Some(_)), Ret::RefFunc(_)) => true,
        (Val::ExternRef(Some(_)), Ret::RefExtern(None)) => true,
        (Val::ExternRef(Some(r)), Ret::RefExtern(Some(n))) => number(store, *r)? == Some(*n),
        (Val::AnyRef(Some(r)), Ret::RefHost(n)) => {
            let host = ExternRef::convert_any(&mut *store, *r)?;
            number(store, host)? == Some(*n)
        }
        (Val::AnyRef(Some(_)), Ret::RefAny) => true,
        (Val::AnyRef(Some(r)), Ret::RefEq) => r.is_eqref(store)?,
        (Val::AnyRef(Some(r)), Ret::RefI31) => r.is_i31(store)?,
        (Val::AnyRef(Some(r)), Ret::RefStruct) => r.is_struct(store)?,
        (Val::AnyRef(Some(r)), Ret::RefArray) => r.is_array(store)?,
        _ => false,
    })
}

/// What the host has put into a reference.
fn number(store: &Store<()>, r: Rooted<ExternRef>) -> Result<Option<u32>> {
    let data = r.data(store)?;
    Ok(data.and_then(|data| data.downcast_ref::<u32>()).copied())
}

fn is_f32(bits: u32, expected: &NanPattern<F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn is_f64(bits: u64, expected: &NanPattern<F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn is_v128(n: u128, expected: &V128Pattern) -> bool {
    let bytes = n.to_le_bytes();
    match expected {
        V128Pattern::I8x16(lanes) => lanes.iter().flat_map(|n| n.to_le_bytes()).eq(bytes),
        V128Pattern::I16x8(lanes) => lanes.iter().flat_map(|n| n.to_le_bytes()).eq(bytes),
        V128Pattern::I32x4(lanes) => lanes.iter().flat_map(|n| n.to_le_bytes()).eq(bytes),
        V128Pattern::I64x2(lanes) => lanes.iter().flat_map(|n| n.to_le_bytes()).eq(bytes),
        V128Pattern::F32x4(lanes) => {
            let bits = (0..4).map(|lane| (n >> (32 * lane)) as u32);
            bits.zip(lanes).all(|(bits, lane)| is_f32(bits, lane))
        }
        V128Pattern::F64x2(lanes) => {
            let bits = (0..2).map(|lane| (n >> (64 * lane)) as u64);
            bits.zip(lanes).all(|(bits, lane)| is_f64(bits, lane))
        }
    }
}
