;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W fuel=1"

;; Pages are charged once they are there, and those that are not cost nothing.
(module
  (memory 1)
  (func $grow (param i32) (result i32)
    (memory.grow (local.get 0))))
