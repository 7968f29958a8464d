//! The functions of `wasi:io/streams` that wait.

use crate::p2::lending::{Lent, lend, with_table};
use crate::wait::in_runtime;
use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::{Accessor, LinkerInstance, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, StreamError, StreamResult};
use wasmtime_wasi_io::bindings::wasi::io::streams::{Host as _, StreamError as GuestError};

/// How much a guest may have written in one call.
const MAX_WRITE: u64 = 4096;

type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;

pub fn add_to_linker<T: WasiView>(interface: &mut LinkerInstance<'_, T>) -> Result<()> {
    /// Defines a method as an asynchronous function of the accessor and the parameters.
    macro_rules! methods {
        ($($name:literal: $function:ident($($arg:ident: $ty:ty),*);)*) => {$(
            interface.func_wrap_concurrent($name, |accessor, ($($arg,)*): ($($ty,)*)| {
                Box::pin(async move {
                    let result = in_runtime($function(accessor, $($arg),*)).await;
                    to_guest(accessor, result)
                })
            })?;
        )*};
    }
    methods! {
        "[method]input-stream.blocking-read": blocking_read(input: Input, len: u64);
        "[method]input-stream.blocking-skip": blocking_skip(input: Input, len: u64);
        "[method]output-stream.blocking-write-and-flush":
            blocking_write_and_flush(output: Output, contents: Vec<u8>);
        "[method]output-stream.blocking-write-zeroes-and-flush":
            blocking_write_zeroes_and_flush(output: Output, len: u64);
        "[method]output-stream.blocking-flush": blocking_flush(output: Output);
        "[method]output-stream.blocking-splice":
            blocking_splice(output: Output, input: Input, len: u64);
    }
    Ok(())
}

/// What a method returns, with its error as a resource of the guest's.
fn to_guest<T: WasiView + 'static, R>(
    accessor: &Accessor<T>,
    result: StreamResult<R>,
) -> Result<(Result<R, GuestError>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(with_table(accessor, |table| {
            table.convert_stream_error(error)
        })?),
    },))
}

pub async fn blocking_read<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    input: Input,
    len: u64,
) -> StreamResult<Vec<u8>> {
    let mut input = lend(accessor, &input)?;
    let bytes = input.get()?.blocking_read(to_usize(len)).await?;
    Ok(bytes.into())
}

async fn blocking_skip<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    input: Input,
    len: u64,
) -> StreamResult<u64> {
    let mut input = lend(accessor, &input)?;
    let skipped = input.get()?.blocking_skip(to_usize(len)).await?;
    Ok(skipped as u64)
}

async fn blocking_write_and_flush<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    output: Output,
    contents: Vec<u8>,
) -> StreamResult<()> {
    if contents.len() as u64 > MAX_WRITE {
        return Err(StreamError::trap(
            "Buffer too large for blocking-write-and-flush (expected at most 4096)",
        ));
    }
    let mut output = lend(accessor, &output)?;
    let output = output.get()?;
    output.blocking_write_and_flush(contents.into()).await
}

async fn blocking_write_zeroes_and_flush<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    output: Output,
    len: u64,
) -> StreamResult<()> {
    if len > MAX_WRITE {
        return Err(StreamError::trap(
            "Buffer too large for blocking-write-zeroes-and-flush (expected at most 4096)",
        ));
    }
    let mut output = lend(accessor, &output)?;
    let output = output.get()?;
    let zeroes = Bytes::from(vec![0; to_usize(len)]);
    output.blocking_write_and_flush(zeroes).await
}

async fn blocking_flush<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    output: Output,
) -> StreamResult<()> {
    let mut output = lend(accessor, &output)?;
    let output = output.get()?;
    output.flush()?;
    output.write_ready().await?;
    Ok(())
}

async fn blocking_splice<T: WasiView + 'static>(
    accessor: &Accessor<T>,
    output: Output,
    input: Input,
    len: u64,
) -> StreamResult<u64> {
    let mut output: Lent<DynOutputStream> = lend(accessor, &output)?;
    let output = output.get()?;
    let permit = output.write_ready().await?;
    let len = to_usize(len).min(permit);
    if len == 0 {
        return Ok(0);
    }
    let contents = {
        let mut input = lend(accessor, &input)?;
        input.get()?.blocking_read(len).await?
    };
    let len = contents.len();
    if len > 0 {
        output.blocking_write_and_flush(contents).await?;
    }
    Ok(len as u64)
}

fn to_usize(len: u64) -> usize {
    len.try_into().unwrap_or(usize::MAX)
}
