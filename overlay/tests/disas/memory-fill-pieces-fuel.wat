;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W fuel=1"

;; All of a long fill is looked at first, whether it is in bounds and whether there
;; is the fuel for it. It is charged piece by piece.
(module
  (memory 100)
  (func $any (param i32 i32 i32)
    (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func $long (param i32 i32)
    (memory.fill (local.get 0) (local.get 1) (i32.const 0x100000))))
