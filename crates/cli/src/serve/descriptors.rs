//! The descriptors of this process. Each connection takes one.

/// Lets this process have as many as it may.
pub fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Otherwise it is as it was.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
