;;! target = "x86_64"
;;! test = "optimize"
;;! filter = "component-trampolines"
;;! flags = "-W component-model-async=y"

;; Of another component's instance. The frame that has left Wasm is recorded once
;; more after the destructor, and before `exit_sync_call`.
(component
  (component $owner
    (core module $m
      (func (export "destroy") (param i32)))
    (core instance $i (instantiate $m))
    (type $resource (resource (rep i32) (dtor (core func $i "destroy"))))
    (export "r" (type $resource)))
  (instance $owner (instantiate $owner))
  (component $user
    (import "r" (type $r (sub resource)))
    (core func $drop (canon resource.drop $r))
    (core module $m
      (import "" "drop" (func $drop (param i32)))
      (func (export "run") (param i32) (call $drop (local.get 0))))
    (core instance $i (instantiate $m
      (with "" (instance (export "drop" (func $drop)))))))
  (instance $user (instantiate $user (with "r" (type $owner "r")))))

