pub mod preempt;

pub mod vm {
    pub trait VMStore {}
}
