pub mod preempt;
