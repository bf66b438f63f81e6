"""A challenger: a second model that is compared with the champion on the requests of a service.

- `sequential` is the test that ends a trial, `trial` the counts and the verdict that the processes
  of the service share, `report` shows them.
- `messages` is what passes between the service and the challenger, `copies` the queue in between.
- `process` is the challenger's process, `link` its counterpart in each process of the service;
  `seats` connects them.
- `challenge` says which model is the challenger; `awaiting` waits for one that is named later.
"""
