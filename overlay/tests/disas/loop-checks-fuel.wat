;;! target = "x86_64"
;;! test = "compile"
;;! flags = "-W fuel=1"

;; The sum stays in a register from one turn of the loop to the next: when there
;; is no fuel left, a trampoline is called that preserves all registers.
(module
  (memory 1)
  (func $sum (param $i i32) (result f64) (local $sum f64)
    (loop $again
      (local.set $sum
        (f64.add (local.get $sum) (f64.load (local.get $i))))
      (br_if $again
        (local.tee $i (i32.sub (local.get $i) (i32.const 8)))))
    (local.get $sum)))
