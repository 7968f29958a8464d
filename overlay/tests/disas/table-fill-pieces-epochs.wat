;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W epoch-interruption=y"

(module
  (table 10 funcref)
  (func $fill (param i32 funcref i32)
    (table.fill (local.get 0) (local.get 1) (local.get 2))))
