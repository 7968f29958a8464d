;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W gc,fuel=1"

(module
  (type $bytes (array (mut i8)))
  (func $copy (param (ref $bytes) i32 (ref $bytes) i32 i32)
    (array.copy $bytes $bytes
      (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))))
