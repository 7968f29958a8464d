//! How many instances Stores make.

/// How many instances a Store makes before another one takes over.
pub const INSTANCES: usize = 32;

/// The same if there are many Stores, each of which may keep the memories of all its instances for
/// the sake of a single request.
const FEW_INSTANCES: usize = 4;
const MANY_STORES: usize = 64;

/// How many instances a Store makes if there are so many Stores.
pub fn instances(stores: usize) -> usize {
    match stores > MANY_STORES {
        true => FEW_INSTANCES,
        false => INSTANCES,
    }
}

/// How many instances there may be at a time, with so many requests on so many OS threads. A Store
/// has a request, or it takes the next one of its OS thread.
pub fn most_instances(requests: usize, threads: usize) -> Option<usize> {
    let large = MANY_STORES.checked_add(threads)?.checked_mul(INSTANCES)?;
    large.checked_add(requests.checked_mul(FEW_INSTANCES)?)
}
