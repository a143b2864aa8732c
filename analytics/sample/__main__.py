from analytics.sample.generator import main

raise SystemExit(main())
