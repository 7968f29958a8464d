;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W epoch-interruption=y"

;; A long copy is done in pieces, from the last to the first if the destination is
;; behind the source, and the epoch is looked at before each piece. A short one of
;; constant length is a single operation.
(module
  (memory 100)
  (func $any (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func $short (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 16))))
