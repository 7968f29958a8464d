;;! target = "x86_64"
;;! test = "compile"
;;! flags = "-W fuel=1,epoch-interruption=y"

;; The checks at a function's entry are ordinary calls.
(module
  (func $add (param f64 f64) (result f64)
    (f64.add (local.get 0) (local.get 1))))
