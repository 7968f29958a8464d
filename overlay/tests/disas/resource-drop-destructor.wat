;;! target = "x86_64"
;;! test = "optimize"
;;! filter = "component-trampolines"

;; Where the destructor of a resource has left Wasm is recorded.
(component
  (core module $m
    (func (export "destroy") (param i32)))
  (core instance $i (instantiate $m))
  (alias core export $i "destroy" (core func $destroy))
  (type $r (resource (rep i32) (dtor (func $destroy))))
  (core func $drop (canon resource.drop $r))
  (core module $user
    (import "" "drop" (func $drop (param i32)))
    (func (export "run") (param i32) (call $drop (local.get 0))))
  (core instance $user (instantiate $user
    (with "" (instance (export "drop" (func $drop)))))))
